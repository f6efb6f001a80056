/* Which cipher seals the payload: the one that both ends have, and the bytes arrive by either. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES = (1 << 20) + 5 };

static hmc_context_t *context_with(const char *cipher) {
  hmc_context_t *context = NULL;
  setenv("HMC_CIPHER", cipher, 1);
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .timeout_ms = PATIENCE_MS}, &context));
  unsetenv("HMC_CIPHER");
  return context;
}

/* A put and a get of a size that does not fill the last block. */
static void exchange_bytes(hmc_context_t *here, hmc_context_t *there, hmc_peer_t *peer) {
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  hmc_region_t *target = NULL, *local = NULL;
  hmc_remote_t *remote = NULL;
  assert_success(hmc_region_allocate(there, cpu, BYTES, "target", HMC_REMOTE_ALL, &target));
  assert_success(hmc_region_allocate(here, cpu, BYTES, NULL, 0, &local));
  assert_success(hmc_remote_open(peer, "target", 0, &remote));
  uint8_t *bytes = hmc_region_pointer(local), *others = hmc_region_pointer(target);
  for (size_t i = 0; i < BYTES; i++) bytes[i] = (uint8_t)(i * 31 + i / 977);
  assert_success(hmc_put(local, 0, remote, 0, BYTES));
  assert_memory_equal(others, bytes, BYTES);
  for (size_t i = 0; i < BYTES; i++) others[i] ^= 0xff;
  assert_success(hmc_get(local, 0, remote, 0, BYTES));
  assert_memory_equal(others, bytes, BYTES);
  hmc_region_close(local);
  hmc_region_close(target);
}

static void look(const char *cipher_here, const char *cipher_there, const char *expected) {
  hmc_peer_t *peer = NULL, *back = NULL;
  uint16_t port = 0;
  char text[4096];
  hmc_context_t *here = context_with(cipher_here), *there = context_with(cipher_there);
  assert_success(hmc_context_listen(there, "127.0.0.1", 0, &port));
  assert_success(hmc_context_connect(here, "127.0.0.1", port, HMC_CONNECTION_TCP, 0, &peer));
  assert_success(hmc_context_accept(there, 0, &back));
  exchange_bytes(here, there, peer);
  hmc_peer_t *ends[] = {peer, back};
  for (size_t i = 0; i < COUNT_OF(ends); i++) {
    assert_success(hmc_peer_explain(ends[i], text, sizeof text, NULL));
    assert_non_null(strstr(text, "encrypted and authenticated by AES-128-"));
    if (expected) assert_non_null(strstr(text, expected));
  }
  hmc_context_destroy(here);
  hmc_context_destroy(there);
}

static void ends_agree_on_a_cipher(void **state) {
  (void)state;
  setenv("HMC_ENCRYPT", "yes", 1);
  look("ocb", "ocb", "AES-128-OCB");
  look("ocb", "gcm", "AES-128-GCM");
  look("gcm", "ocb", "AES-128-GCM");
  look("auto", "gcm", "AES-128-GCM");
  look("auto", "auto", NULL); /* whichever is the faster one here */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ends_agree_on_a_cipher)};
  environment_open();
  return cmocka_run_group_tests_name("operations.ciphers", tests, NULL, NULL);
}
