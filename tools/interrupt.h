/* Ctrl-C as a flag that programs look at between operations. In C only: C++14 has no word for an atomic bool of C. */
#ifndef HMC_TOOL_INTERRUPT_H
#define HMC_TOOL_INTERRUPT_H

#include <stdatomic.h>

/* SIGINT and SIGTERM set tool_interrupted from now on; a second one of them ends the program as usual. */
extern atomic_bool tool_interrupted; /* also read by threads, which sig_atomic_t is not for */
void tool_catch_interrupts(void);

#endif
