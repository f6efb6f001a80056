/* A port that a test must know before its programs listen there: free, and outside the range from which the kernel
 * serves port 0 and every connection, so that no test beside this one gets it by accident before it is used. */
#ifndef HMC_TESTS_PORT_H
#define HMC_TESTS_PORT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* On the loopback of `family`, another one for each call; 0: this host does not have the family. */
static inline uint16_t free_port(int family) {
  static bool given[65536];
  for (int i = 0; i < 1000; i++) {
    struct sockaddr_in four = {};
    struct sockaddr_in6 six = {};
    uint16_t port = 0;
    if (getrandom(&port, sizeof port, 0) != sizeof port) break;
    port = (uint16_t)(10000 + port % 22768);
    four.sin_family = AF_INET;
    four.sin_port = six.sin6_port = htons(port);
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_loopback;
    int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) break;
    int failed = family == AF_INET6 ? bind(descriptor, (struct sockaddr *)&six, sizeof six)
                                    : bind(descriptor, (struct sockaddr *)&four, sizeof four);
    close(descriptor);
    if (failed || given[port]) continue;
    given[port] = true;
    return port;
  }
  return 0;
}

#endif
