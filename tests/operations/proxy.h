/* A proxy between two peers on tcp, which damages what goes through it, and hangs up. */
#ifndef TESTS_OPERATIONS_PROXY_H
#define TESTS_OPERATIONS_PROXY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct proxy proxy_t;

/* What a connection carries in clear is searched for these bytes; the byte behind them is what gets damaged. */
#define PROXY_MARK "mark-of-the-proxy"
#define PROXY_MARK_SIZE (sizeof(PROXY_MARK) - 1)

/* Forwards connections to a port of this host; `port` gets its own. Asserts. */
proxy_t *proxy_start(uint16_t to, uint16_t *port);
/* After the peers that talk through it are closed. */
void proxy_stop(proxy_t *proxy);

/* From now on the byte behind each mark is flipped, `count` times in all. */
void proxy_damage_marked(proxy_t *proxy, uint32_t count);
/* Flips one byte of the next chunk of at least `size` bytes, whatever it is. */
void proxy_damage_chunk(proxy_t *proxy, uint32_t size);
/* Of the connections that come from now on, `skip` are forwarded; the next `count` are accepted and hung up on. */
void proxy_hang_up(proxy_t *proxy, uint32_t skip, uint32_t count);
/* The same. Each hang-up comes after `pause_ms`, in which the proxy stands still; `all`: it ends all other connections first. */
void proxy_hang_up_late(proxy_t *proxy, uint32_t skip, uint32_t count, uint32_t pause_ms, bool all);
/* How often it has damaged something so far. */
uint32_t proxy_damages(const proxy_t *proxy);

#endif
