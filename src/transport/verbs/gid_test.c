#include "gid.h"

#include <arpa/inet.h>
#include <infiniband/verbs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* A RoCE v2 GID of that address. */
static verbs_gid_t roce(const char *address) {
  verbs_gid_t gid = {.layer = IBV_LINK_LAYER_ETHERNET, .type = IBV_GID_TYPE_ROCE_V2, .mtu = 5};
  if (strchr(address, ':')) {
    inet_pton(AF_INET6, address, gid.raw);
  } else {
    gid.raw[10] = gid.raw[11] = 0xff;
    inet_pton(AF_INET, address, gid.raw + 12);
  }
  return gid;
}

static verbs_gid_t infiniband(const char *address, uint16_t lid) {
  verbs_gid_t gid = roce(address);
  gid.layer = IBV_LINK_LAYER_INFINIBAND;
  gid.type = IBV_GID_TYPE_IB;
  gid.lid = lid;
  return gid;
}

static verbs_gid_t version_1(const char *address) {
  verbs_gid_t gid = roce(address);
  gid.type = IBV_GID_TYPE_ROCE_V1;
  return gid;
}

/* What the kernel of the test would do: everything is sent from this address; NULL: there are no routes. */
static const char *source_address;

static bool route(const uint8_t *peer, uint8_t *source) {
  (void)peer;
  if (!source_address) return false;
  verbs_gid_t gid = roce(source_address);
  memcpy(source, gid.raw, 16);
  return true;
}

static void expect(const verbs_gid_t *mine, uint32_t mine_count, const verbs_gid_t *theirs, uint32_t theirs_count,
                   int my_choice, int their_choice) {
  uint32_t here = 99, there = 99;
  hmc_status_t status = hmci_verbs_gid_choose(mine, mine_count, theirs, theirs_count, route, &here, &there);
  if (my_choice < 0) {
    assert_int_equal(status, HMC_UNSUPPORT);
    assert_int_equal(here, 99);
    assert_int_equal(there, 99);
    return;
  }
  assert_int_equal(status, HMC_SUCCESS);
  assert_int_equal(here, my_choice);
  assert_int_equal(there, their_choice);
}

/* Of two in the peer's network, the one at this process's node goes before the one that the kernel would take; a near
 * one in another network does not. */
static void test_a_near_device_comes_first(void **state) {
  (void)state;
  verbs_gid_t mine[] = {roce("10.0.0.1"), roce("10.0.0.3"), roce("10.9.0.3")}, theirs[] = {roce("10.0.0.2")};
  for (int i = 0; i < 3; i++) mine[i].prefix = 96 + 24;
  source_address = "10.0.0.1";
  expect(mine, 3, theirs, 1, 0, 0);
  mine[2].near = true;
  expect(mine, 3, theirs, 1, 0, 0);
  mine[1].near = true;
  expect(mine, 3, theirs, 1, 1, 0);
  mine[0].near = true;
  expect(mine, 3, theirs, 1, 0, 0);
}

/* By the loopback's interface, which every host has. */
static void test_the_network_of_an_address(void **state) {
  (void)state;
  verbs_gid_t own = roce("127.0.0.1"), another = roce("127.3.2.1"), nobody = roce("198.51.100.7");
  assert_int_equal(hmci_verbs_gid_prefix(own.raw), 96 + 8);
  assert_int_equal(hmci_verbs_gid_prefix(another.raw), 96 + 8);
  assert_int_equal(hmci_verbs_gid_prefix(nobody.raw), 0);
}

static void test_link_local_comes_last(void **state) {
  (void)state;
  verbs_gid_t mine[] = {roce("fe80::1"), roce("10.0.0.1")}, theirs[] = {roce("fe80::2"), roce("10.0.0.2")};
  source_address = "10.0.0.1";
  expect(mine, 2, theirs, 2, 1, 1);
  expect(mine, 1, theirs, 2, 0, 0); /* where nothing else fits */
  source_address = NULL;
  expect(mine, 2, theirs, 2, 0, 0);
  verbs_gid_t local_4[] = {roce("169.254.1.1")}, there_4[] = {roce("169.254.1.2")};
  expect(local_4, 1, there_4, 1, 0, 0);
}

static void test_the_routed_port_is_taken(void **state) {
  (void)state;
  verbs_gid_t mine[] = {roce("10.1.0.3"), roce("10.2.0.3"), roce("10.3.0.3")}, theirs[] = {roce("10.2.0.9")};
  source_address = "10.2.0.3";
  expect(mine, 3, theirs, 1, 1, 0);
  source_address = "192.168.0.1"; /* by some other card: better than nothing */
  expect(mine, 3, theirs, 1, 0, 0);
  source_address = NULL; /* no way there */
  expect(mine, 3, theirs, 1, -1, 0);
}

static void test_one_device_reaches_itself(void **state) {
  (void)state;
  verbs_gid_t mine[] = {roce("10.0.0.1"), roce("10.0.1.1")}, theirs[] = {roce("10.0.1.1")};
  source_address = NULL;
  expect(mine, 2, theirs, 1, 1, 0);
}

static void test_kinds_do_not_mix(void **state) {
  (void)state;
  source_address = "10.0.0.1";
  verbs_gid_t four = roce("10.0.0.1"), six = roce("2001:db8::1"), old = version_1("10.0.0.1"),
              ib = infiniband("fe80::1", 7);
  verbs_gid_t kinds[] = {four, six, old, ib};
  for (int i = 0; i < 4; i++) {
    for (int k = 0; k < 4; k++) {
      if (i == k) continue;
      expect(&kinds[i], 1, &kinds[k], 1, -1, 0);
    }
  }
  expect(kinds, 4, kinds, 4, 0, 0); /* and version 2 comes before the others */
  verbs_gid_t older[] = {version_1("fe80::1"), version_1("10.0.0.1")};
  expect(older, 2, older, 2, 0, 0);
}

static void test_infiniband_meets_in_its_subnet(void **state) {
  (void)state;
  verbs_gid_t mine[] = {infiniband("fe80:0:0:1::1", 3), infiniband("fe80::1", 4)};
  verbs_gid_t theirs[] = {infiniband("fe80::2", 5)}, elsewhere[] = {infiniband("fe80:0:0:9::2", 5)},
              down[] = {infiniband("fe80::2", 0)};
  source_address = NULL;
  expect(mine, 2, theirs, 1, 1, 0);
  expect(mine, 2, elsewhere, 1, -1, 0);
  expect(mine, 2, down, 1, -1, 0); /* without a LID no subnet manager has seen the port */
}

static void test_refusal_names_both_sides(void **state) {
  (void)state;
  verbs_gid_t mine[] = {roce("10.0.0.1"), roce("fe80::1")}, theirs[] = {roce("2001:db8::2")};
  source_address = NULL;
  expect(mine, 2, theirs, 1, -1, 0);
  assert_non_null(strstr(hmc_last_error(), "10.0.0.1"));
  assert_non_null(strstr(hmc_last_error(), "2001:db8::2"));
  expect(mine, 2, theirs, 0, -1, 0);
  assert_non_null(strstr(hmc_last_error(), "none"));
}

static void test_empty_entries_are_worth_nothing(void **state) {
  (void)state;
  verbs_gid_t empty = roce("::"), v2 = roce("10.0.0.1"), local = roce("fe80::1"), v1 = version_1("10.0.0.1");
  assert_int_equal(hmci_verbs_gid_worth(&empty), 0);
  assert_true(hmci_verbs_gid_worth(&v2) > hmci_verbs_gid_worth(&local));
  assert_true(hmci_verbs_gid_worth(&local) > hmci_verbs_gid_worth(&v1));
}

static void test_text_is_an_address(void **state) {
  (void)state;
  char text[VERBS_GID_TEXT];
  verbs_gid_t four = roce("10.77.0.1"), six = roce("2001:db8::1");
  hmci_verbs_gid_text(four.raw, text);
  assert_string_equal(text, "10.77.0.1");
  hmci_verbs_gid_text(six.raw, text);
  assert_string_equal(text, "2001:db8::1");
}

static void test_route_asks_the_kernel(void **state) {
  (void)state;
  verbs_gid_t loopback = roce("127.0.0.1"), local = roce("fe80::1");
  uint8_t source[16];
  assert_true(hmci_verbs_route(loopback.raw, source));
  assert_memory_equal(source, loopback.raw, 16);
  assert_false(hmci_verbs_route(local.raw, source));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_near_device_comes_first),       cmocka_unit_test(test_the_network_of_an_address),
      cmocka_unit_test(test_link_local_comes_last),           cmocka_unit_test(test_the_routed_port_is_taken),
      cmocka_unit_test(test_one_device_reaches_itself),       cmocka_unit_test(test_kinds_do_not_mix),
      cmocka_unit_test(test_infiniband_meets_in_its_subnet),  cmocka_unit_test(test_refusal_names_both_sides),
      cmocka_unit_test(test_empty_entries_are_worth_nothing), cmocka_unit_test(test_text_is_an_address),
      cmocka_unit_test(test_route_asks_the_kernel),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
