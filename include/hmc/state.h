/* State that the C++ classes keep in the library, so that all parts of a process share it, whatever they were compiled
 * with. Not for programs. */
#ifndef HMC_STATE_H
#define HMC_STATE_H

#include <hmc/export.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the classes know of a thread. It only grows at its end. */
typedef struct hmc_state_thread {
  int status;     /* of the thread's last failure in the classes */
  char text[512]; /* of that failure; "": hmc_last_error has it */
  /* Asked now and then while the thread waits in a blocking call for a peer or a store: true ends the call, with
   * HMC_CANCELLED. NULL: nothing is asked. */
  bool (*stop)(void);
} hmc_state_thread_t;

/**
 * The state of the calling thread, zeroed at first.
 *
 * \return The state; it lives as long as the thread.
 */
HMC_API hmc_state_thread_t *hmc_state_of_thread(void);

typedef void *(*hmc_state_maker_t)(void);

/**
 * The process's object of a name, which the first call makes. It lives until the process ends.
 *
 * Threads: any. Blocking: while another thread makes an object.
 *
 * \param name The name; copied.
 * \param make Makes the object; may itself ask for others. A NULL that it returns is not kept.
 * \return The object, or NULL: there is no memory.
 */
HMC_API void *hmc_state_object(const char *name, hmc_state_maker_t make);

#ifdef __cplusplus
}
#endif
#endif
