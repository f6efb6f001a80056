/* Pages that are used again: a page is leased to a peer that writes to it without end and cares for nothing, is taken
 * back in the middle of that, and is then watched, filled with something else and leased to the next one. Not one byte
 * of the former holder may come. */
#include "leases.h"

#include <stdio.h>
#include <string.h>

enum { PAGES = 16, HOLDERS = 2, STEPS = 8 };
#define PAGE_BYTES (128 * KIB)
#define OWN 0xee

typedef struct pages {
  hmc_region_t *region;
  test_buffer_t place; /* the whole region, for the helpers */
} pages_t;

static pages_t pages_make(context_pair_t *pair, uint64_t bytes) {
  pages_t pages = {.region = leased_make(pair, "pages", bytes)};
  pages.place = (test_buffer_t){.region = pages.region,
                                .memory = hmc_region_memory(pages.region),
                                .whole = hmc_region_pointer(pages.region),
                                .size = hmc_region_size(pages.region)};
  return pages;
}

static hmc_lease_t *grant_page(const pages_t *pages, hmc_peer_t *peer, uint64_t page) {
  hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
  hmc_lease_t *lease;
  options.blocks = &page;
  options.block_count = 1;
  options.block_size = PAGE_BYTES;
  assert_success(hmc_lease_grant(pages->region, peer, &options, &lease));
  return lease;
}

/* The page is the owner's: what it writes there stays, however often it looks. */
static void assert_quiet(const pages_t *pages, uint64_t page) {
  owner_fill(&pages->place, page * PAGE_BYTES, PAGE_BYTES, OWN);
  for (int i = 0; i < STEPS; i++)
    assert_int_equal(owner_others(&pages->place, page * PAGE_BYTES, PAGE_BYTES, OWN, OWN), 0);
}

/* Bytes of the holder have come to the page: a transfer is in progress, or was. */
static void await_bytes(const pages_t *pages, uint64_t page, uint8_t value) {
  for (uint64_t limit = now_ms() + PATIENCE_MS; now_ms() < limit;)
    if (owner_others(&pages->place, page * PAGE_BYTES, 8, value, value) < 8) return;
  fail_msg("nothing came to page %d", (int)page);
}

static void say_how_far(uint64_t pages, uint64_t longest_ns) {
  printf("  %llu pages, revoke took %llu us at most\n", (unsigned long long)pages,
         (unsigned long long)(longest_ns / 1000));
  fflush(stdout);
}

void reuse_under_load(void **state) {
  context_pair_t *pair = *state;
  pages_t pages = pages_make(pair, PAGES * PAGE_BYTES);
  holder_t holders[HOLDERS];
  hmc_lease_t *leases[HOLDERS];
  uint64_t page_of[HOLDERS], longest = 0, total = 0, random = 7, landed = 0;
  for (size_t i = 0; i < HOLDERS; i++) {
    holder_start(&holders[i], pair);
    leases[i] = NULL;
  }
  for (uint64_t round = 0; round < reuse_rounds; round++) {
    size_t i = round % HOLDERS;
    if (leases[i]) {
      uint8_t value = (uint8_t)(1 + (round - HOLDERS) % 200);
      if (round % 4 == 0) await_bytes(&pages, page_of[i], value);
      spin_ns(draw(&random) % 200000); /* somewhere in a transfer */
      uint64_t since = now_ns();
      hmc_lease_revoke(leases[i]);
      uint64_t took = now_ns() - since;
      total += took;
      if (took > longest) longest = took;
      landed += owner_others(&pages.place, page_of[i] * PAGE_BYTES, PAGE_BYTES, value, value) < PAGE_BYTES;
      assert_quiet(&pages, page_of[i]);
    }
    page_of[i] = round % PAGES;
    leases[i] = grant_page(&pages, holders[i].peer, page_of[i]);
    owner_fill(&pages.place, page_of[i] * PAGE_BYTES, PAGE_BYTES, OWN);
    holder_give(&holders[i], &(task_t){.lease = hmc_lease_number(leases[i]),
                                       .offset = page_of[i] * PAGE_BYTES,
                                       .length = PAGE_BYTES,
                                       .value = (uint8_t)(1 + round % 200)});
    if (round % 1000 == 999) say_how_far(round + 1, longest); /* where code is emulated that takes minutes */
  }
  printf("  %llu pages; bytes of the holder were there in %llu; revoke took %llu us on average, %llu us at most\n",
         (unsigned long long)reuse_rounds, (unsigned long long)landed,
         (unsigned long long)(total / reuse_rounds / 1000), (unsigned long long)(longest / 1000));
  assert_true(landed > 0); /* else nothing was shown */
  for (size_t i = 0; i < HOLDERS; i++) {
    hmc_lease_revoke(leases[i]);
    holder_kill(&holders[i]);
  }
  hmc_region_close(pages.region);
}

/* A stopped process has pieces on the way that come when it goes on. */
void reuse_while_stopped(void **state) {
  enum { ROUNDS = SANITIZED ? 4 : 20 };
  context_pair_t *pair = *state;
  pages_t pages = pages_make(pair, PAGES * PAGE_BYTES);
  holder_t holder;
  uint64_t random = 11;
  holder_start(&holder, pair);
  for (uint64_t round = 0; round < ROUNDS; round++) {
    uint64_t page = round % PAGES;
    hmc_lease_t *lease = grant_page(&pages, holder.peer, page);
    holder_give(&holder, &(task_t){hmc_lease_number(lease), page * PAGE_BYTES, PAGE_BYTES, 3});
    spin_ns(draw(&random) % 300000);
    holder_stop(&holder);
    uint64_t since = now_ms();
    hmc_lease_revoke(lease);
    assert_took(since, 0, 0); /* and not what a timeout is */
    assert_quiet(&pages, page);
    holder_continue(&holder);
    for (int i = 0; i < 20; i++) {
      assert_int_equal(owner_others(&pages.place, page * PAGE_BYTES, PAGE_BYTES, OWN, OWN), 0);
      sleep_ms(1);
    }
  }
  holder_kill(&holder);
  hmc_region_close(pages.region);
}

void reuse_after_death(void **state) {
  enum { ROUNDS = SANITIZED ? 2 : 6 };
  context_pair_t *pair = *state;
  pages_t pages = pages_make(pair, PAGES * PAGE_BYTES);
  for (uint64_t round = 0; round < ROUNDS; round++) {
    holder_t holder;
    holder_start(&holder, pair);
    hmc_lease_t *lease = grant_page(&pages, holder.peer, round);
    holder_give(&holder, &(task_t){hmc_lease_number(lease), round * PAGE_BYTES, PAGE_BYTES, 4});
    holder_kill(&holder);
    hmc_lease_revoke(lease);
    assert_quiet(&pages, round);
    hmc_peer_close(holder.peer);
  }
  hmc_region_close(pages.region);
}

/* A get that says success has the bytes that were there while the lease was: never those of the page's next use, nor
 * none. */
void reuse_of_pages_that_are_read(void **state) {
  enum { ROUNDS = SANITIZED ? 40 : 200 };
  context_pair_t *pair = *state;
  const uint64_t bytes = 2 * MIB; /* more than a socket takes at once, so that frames are cut */
  pages_t pages = pages_make(pair, bytes);
  test_buffer_t near = near_make(pair, bytes, true);
  hmc_remote_t *remote;
  uint64_t random = 5, succeeded = 0;
  assert_success(hmc_remote_open(pair->peer, "pages", 0, &remote));
  for (uint64_t round = 0; round < ROUNDS; round++) {
    uint8_t value = (uint8_t)(1 + round % 200);
    owner_fill(&pages.place, 0, bytes, value);
    hmc_lease_t *lease;
    assert_success(hmc_lease_grant(pages.region, pair->back, NULL, &lease));
    hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
    hmc_request_t *request;
    options.lease = hmc_lease_number(lease);
    assert_success(hmc_get_nb(near.region, 0, remote, 0, bytes, &options, &request));
    spin_ns(draw(&random) % 1000000);
    hmc_lease_revoke(lease);
    owner_fill(&pages.place, 0, bytes, OWN);
    hmc_status_t status = finish(request);
    assert_true(status == HMC_SUCCESS || status == HMC_STALE);
    if (status != HMC_SUCCESS) continue;
    succeeded++;
    assert_int_equal(owner_others(&near, 0, bytes, value, value), 0);
  }
  printf("  %llu of %d gets came before the lease was over\n", (unsigned long long)succeeded, (int)ROUNDS);
  hmc_remote_close(remote);
  hmc_region_close(pages.region);
  test_buffer_close(&near);
}
