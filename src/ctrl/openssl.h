/* When OpenSSL may be called.
 *
 * A program may end contexts as late as in the destructors of its static objects, and its service threads run until the
 * process is gone. OpenSSL takes itself apart in an exit handler of its own, which comes before those destructors where
 * they belong to what was made before OpenSSL. So HMC asks OpenSSL to register no such handler; and where the program
 * has used OpenSSL before HMC, and one is registered already, HMC stops calling OpenSSL when it runs. */
#ifndef HMCI_OPENSSL_H
#define HMCI_OPENSSL_H

#include "../base/base.h"

/* Around all calls of OpenSSL's, except for sizes and names that are constant. False: OpenSSL is no more, because the
 * process is ending, or it could not start; nothing of it may be called or freed. What stands between the two must not
 * wait for anything. Nests. */
bool hmci_openssl_acquire(void);
void hmci_openssl_release(void);

/* Why acquire was false: HMC_ERROR, HMC_NO_MEMORY. */
hmc_status_t hmci_openssl_fail(void);

#endif
