/* What the files of hmc-doctor share: findings, and the checks that make them. */
#ifndef HMC_DOCTOR_H
#define HMC_DOCTOR_H

#include "tool.h"

typedef enum doctor_level {
  DOCTOR_OK,
  DOCTOR_NOTE, /* worth knowing; all works */
  DOCTOR_WARN, /* it works, slower or not everywhere */
  DOCTOR_FAIL, /* programs will fail */
} doctor_level_t;

/* One finding: a line with its figure, and what to do about it ("" or NULL: nothing). Texts are copied. */
void doctor_say(doctor_level_t level, const char *check, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* doctor_host.c: the machine and this process's place in it. */
bool doctor_check_settings(void); /* false: one holds what is not understood */
void doctor_check_secret(void);
void doctor_check_limits(void);
void doctor_check_attach(void);
void doctor_check_memory(void);
bool doctor_check_network(void); /* false: nothing can be tried over the loopback */
void doctor_check_rdma(void);
void doctor_check_modules(void);

/* doctor_routes.c: real transfers inside this program, by every route, and from every device. */
void doctor_check_routes(void);
void doctor_check_devices(void);

/* doctor_pair.c: this end and one that listens at `where` ("host:port"); and being that one, until interrupted. */
void doctor_check_pair(const char *where);
int doctor_listen(const char *where);
#define DOCTOR_REGION "hmc-doctor"
enum { DOCTOR_BYTES = 4 << 20, DOCTOR_PORT = 2025 };

/* doctor_routes.c: moves bytes there and back by that peer, looks at them, and says how fast; `what` names the line. */
void doctor_try_peer(const char *what, hmc_context_t *context, hmc_peer_t *peer, hmc_memory_t memory);

#endif
