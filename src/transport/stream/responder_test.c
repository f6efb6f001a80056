/* The answering end of a stream, whose peer is the test. */
#include "stream_fixture.h"
#include "wire.h"

#include <linux/sockios.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <cmocka.h>

enum { ASKED = 2000 };
#define LENGTH (64u << 10)

static void wait_a_moment(void) { poll(NULL, 0, 1); }

/* Bytes that the other end has not read yet. */
static int unread(int descriptor) {
  int bytes = 0;
  assert_int_equal(ioctl(descriptor, SIOCOUTQ, &bytes), 0);
  return bytes;
}

static void send_request(int descriptor, const hmci_request_header_t *header) {
  uint8_t frame[HMCI_REQUEST_HEADER];
  hmci_request_encode(frame, header);
  int waited = 0;
  for (size_t sent = 0; sent < sizeof frame;) {
    ssize_t done = send(descriptor, frame + sent, sizeof frame - sent, MSG_NOSIGNAL);
    if (done > 0) sent += (size_t)done;
    assert_true(waited < 20000);
    if (done < 0) wait_a_moment(), waited++;
  }
}

/* Gets whose answers nobody takes: what comes behind them is read all the same. */
static void test_reads_though_nothing_goes_out(void **state) {
  (void)state;
  stream_stand_t stand;
  hmci_responder_t responder;
  stand_open(&stand, 1 << 20);
  assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  for (uint64_t i = 1; i <= ASKED; i++) {
    send_request(stand.far, &(hmci_request_header_t){.type = HMCI_WIRE_GET,
                                                     .flags = HMCI_FLAG_LAST,
                                                     .entries = 1,
                                                     .region = 1,
                                                     .generation = 1,
                                                     .sequence = i,
                                                     .length = LENGTH});
  }
  for (int i = 0; i < 20000 && unread(stand.far); i++) wait_a_moment();
  assert_int_equal(unread(stand.far), 0);
  assert_int_equal(atomic_load(&stand.lost), 0);
  hmci_responder_close(&responder);
  assert_int_equal(atomic_load(&stand.region.users), 0);
  stand_close(&stand);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads_though_nothing_goes_out)};
  return cmocka_run_group_tests_name("transport.stream.responder", tests, NULL, NULL);
}
