/* Waiting for a signal: a word of a region of this side that peers change (hmc_signal_t, hmc_atomic, or a put of 8
 * bytes).
 *
 * A waiting thread polls as long as HMC_SPIN says, and then sleeps. A signal that HMC itself applies wakes it at once;
 * one that a peer or an adapter writes straight into the memory is found within a millisecond. */
#ifndef HMC_SIGNAL_H
#define HMC_SIGNAL_H

#include <hmc/context.h>
#include <hmc/export.h>
#include <hmc/region.h>
#include <hmc/status.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the word is compared with the value, as unsigned numbers. */
typedef enum hmc_comparison {
  HMC_COMPARE_EQ = 0,
  HMC_COMPARE_NE = 1,
  HMC_COMPARE_GT = 2,
  HMC_COMPARE_GE = 3,
  HMC_COMPARE_LT = 4,
  HMC_COMPARE_LE = 5,
} hmc_comparison_t;

/**
 * Waits until the 64-bit word of a region compares with a value as asked. What the peer wrote before it signalled is
 * visible then. In memory of a device the word is fetched by the device's copies.
 *
 * Ownership: the region must stay open. Threads: any, several at once; not in a callback. Blocking: for at most
 * `timeout_ms`.
 *
 * \param region A region of this side, in any memory.
 * \param offset Where the word is; a multiple of 8.
 * \param comparison How it must compare: word `comparison` value.
 * \param value What it is compared with.
 * \param timeout_ms How long to wait; 0: the context's timeout; HMC_NO_WAIT: look once.
 * \param seen Gets the word that fits; may be NULL. Unchanged after a failure.
 * \return HMC_SUCCESS The word compares so.
 * \return HMC_TIMEOUT It did not within that time.
 * \return HMC_OUT_OF_RANGE The word is not inside the region.
 * \return HMC_UNSUPPORT This is a callback, and the word does not fit: waiting would keep signals from coming.
 * \return HMC_INVALID_CONFIG NULL, an unknown comparison, or an offset that is not a multiple of 8.
 * \return HMC_ERROR The device does not give the word.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_signal_wait(hmc_region_t *region, uint64_t offset, hmc_comparison_t comparison,
                                                 uint64_t value, uint64_t timeout_ms, uint64_t *seen);

#ifdef __cplusplus
}
#endif
#endif
