/* Are the bytes that arrived the file's? */
#include "demo.h"

#include <openssl/evp.h>

#include <string.h>

/* The service thread writes the sink when the holder puts, and that was before, or is later. */
int demo_clear(demo_receiver_t *receiver, hmc_region_t *region) {
  hmc_memory_t memory = hmc_region_memory(region);
  unsigned char *at = hmc_region_pointer(region);
  memset(receiver->piece, 0xa5, DEMO_CHUNK);
  for (uint64_t offset = 0; offset < receiver->held.bytes; offset += DEMO_CHUNK) {
    uint64_t left = receiver->held.bytes - offset;
    tool_shared_begin();
    hmc_status_t status = hmc_memory_copy(at + offset, memory, receiver->piece, (hmc_memory_t){HMC_MEMORY_CPU, 0},
                                          left < DEMO_CHUNK ? left : DEMO_CHUNK);
    tool_shared_end();
    if (status != HMC_SUCCESS) return tool_fail_hmc("clearing the receiver's memory", status);
  }
  return TOOL_DONE;
}

static int digest_region(demo_receiver_t *receiver, hmc_region_t *region, const char *label, EVP_MD_CTX *digest,
                         unsigned char *result) {
  demo_progress_t progress;
  demo_progress_begin(&progress, label, receiver->held.bytes, 1);
  hmc_memory_t memory = hmc_region_memory(region);
  const unsigned char *at = hmc_region_pointer(region);
  int code = EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 ? TOOL_DONE : tool_fail("SHA-256 does not work here");
  for (uint64_t offset = 0; code == TOOL_DONE && offset < receiver->held.bytes; offset += DEMO_CHUNK) {
    uint64_t left = receiver->held.bytes - offset, length = left < DEMO_CHUNK ? left : DEMO_CHUNK;
    tool_shared_begin();
    hmc_status_t status =
        hmc_memory_copy(receiver->piece, (hmc_memory_t){HMC_MEMORY_CPU, 0}, at + offset, memory, length);
    tool_shared_end();
    if (status != HMC_SUCCESS)
      code = tool_fail_hmc("reading the receiver's memory", status);
    else if (EVP_DigestUpdate(digest, receiver->piece, length) != 1)
      code = tool_fail("SHA-256 failed");
    demo_progress_add(&progress, length);
  }
  if (code == TOOL_DONE && EVP_DigestFinal_ex(digest, result, NULL) != 1) code = tool_fail("SHA-256 failed");
  demo_progress_end(&progress);
  return code;
}

void demo_format_digest(const unsigned char *digest, char text[2 * DEMO_DIGEST + 1]) {
  for (size_t i = 0; i < DEMO_DIGEST; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

int demo_verify(demo_receiver_t *receiver, hmc_region_t *region, const char *label) {
  unsigned char digest[EVP_MAX_MD_SIZE] = {0};
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  int code = context ? digest_region(receiver, region, label, context, digest) : tool_fail("out of memory");
  EVP_MD_CTX_free(context);
  if (code != TOOL_DONE || memcmp(digest, receiver->held.digest, DEMO_DIGEST) == 0) return code;
  char arrived[2 * DEMO_DIGEST + 1];
  demo_format_digest(digest, arrived);
  return tool_fail("%s: WRONG BYTES ARRIVED: their SHA-256 is %s", label, arrived);
}
