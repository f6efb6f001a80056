#include "descriptors_fixture.h"
#include "socket.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void pass(int type) {
  int ends[2], pipe_ends[2], got = -2;
  char data[16] = "";
  size_t size = 99;
  assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0); /* blocking: the calls must not */
  assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
  assert_int_equal(hmci_socket_receive_descriptor(ends[1], data, sizeof(data), &size, &got), HMC_IN_PROGRESS);
  assert_int_equal(size, 99);
  assert_int_equal(got, -2);

  assert_int_equal(hmci_socket_send_descriptor(ends[0], "with", 5, pipe_ends[1]), HMC_SUCCESS);
  assert_int_equal(hmci_socket_receive_descriptor(ends[1], data, sizeof(data), &size, &got), HMC_SUCCESS);
  assert_int_equal(size, 5);
  assert_string_equal(data, "with");
  assert_true(got >= 0 && got != pipe_ends[1]);
  assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
  assert_int_equal(write(got, "y", 1), 1);
  assert_int_equal(read(pipe_ends[0], data, 1), 1);
  assert_int_equal(data[0], 'y');
  close(got);

  assert_int_equal(hmci_socket_send_descriptor(ends[0], "without", 8, -1), HMC_SUCCESS);
  assert_int_equal(hmci_socket_receive_descriptor(ends[1], data, sizeof(data), &size, &got), HMC_SUCCESS);
  assert_string_equal(data, "without");
  assert_int_equal(got, -1);

  close(ends[0]);
  assert_int_equal(hmci_socket_receive_descriptor(ends[1], data, sizeof(data), &size, &got), HMC_PEER_LOST);
  assert_int_equal(hmci_socket_send_descriptor(ends[1], "x", 1, pipe_ends[0]), HMC_PEER_LOST);
  close(ends[1]);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

static void test_passing_descriptors(void **state) {
  (void)state;
  pass(SOCK_SEQPACKET);
  pass(SOCK_STREAM);
}

static void send_many(int socket, const int *descriptors, size_t count) {
  struct iovec part = {.iov_base = "x", .iov_len = 1};
  _Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {0};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(count * sizeof(int))};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(count * sizeof(int));
  memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
  assert_int_equal(sendmsg(socket, &message, 0), 1);
}

/* Whatever else comes is refused, and no descriptor of it stays open (count_after counts). */
static void test_messages_that_are_refused(void **state) {
  (void)state;
  int ends[2], got = -2, many[4] = {0, 0, 0, 0};
  char data[4];
  size_t size = 99;
  assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  for (size_t count = 2; count <= 4; count++) {
    send_many(ends[0], many, count);
    assert_int_equal(hmci_socket_receive_descriptor(ends[1], data, sizeof(data), &size, &got), HMC_CORRUPT);
  }
  assert_int_equal(hmci_socket_send_descriptor(ends[0], "too long", 8, 0), HMC_SUCCESS);
  assert_int_equal(hmci_socket_receive_descriptor(ends[1], data, sizeof(data), &size, &got), HMC_CORRUPT);
  assert_int_equal(size, 99);
  assert_int_equal(got, -2);

  char *large = calloc(1, 8 << 20);
  assert_int_equal(hmci_socket_send_descriptor(ends[0], large, 8 << 20, 0), HMC_OUT_OF_RANGE);
  free(large);
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < 100000 && status == HMC_SUCCESS; i++) {
    status = hmci_socket_send_descriptor(ends[0], "x", 1, -1);
  }
  assert_int_equal(status, HMC_IN_PROGRESS); /* nobody reads */
  close(ends[0]);
  close(ends[1]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, count_before, count_after)
  const struct CMUnitTest tests[] = {
      TEST(test_passing_descriptors),
      TEST(test_messages_that_are_refused),
  };
  return cmocka_run_group_tests_name("socket_pass", tests, NULL, NULL);
}
