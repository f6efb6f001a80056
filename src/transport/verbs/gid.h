/* Which of this side's GIDs and which of the peer's belong together. */
#ifndef HMCI_VERBS_GID_H
#define HMCI_VERBS_GID_H

#include "wire.h"

enum { VERBS_GID_TEXT = 48 };

/* How a GID is shown to people: an IP address where it is one. */
void hmci_verbs_gid_text(const uint8_t raw[16], char text[VERBS_GID_TEXT]);

/* How much a GID is worth to a peer nothing is known of; 0: nothing. The best are offered first. */
unsigned hmci_verbs_gid_worth(const verbs_gid_t *gid);

/* Bits of the network that an address of this host, as a GID, is in by the host's interfaces; 0: it is in none. */
uint8_t hmci_verbs_gid_prefix(const uint8_t raw[16]);

/* The address that this host would send from to reach `peer`, both as GIDs. False: the network has no way there, or
 * it is not an address that routes are made for. */
typedef bool hmci_verbs_route_t(const uint8_t peer[16], uint8_t source[16]);
hmci_verbs_route_t hmci_verbs_route;

/* Picks the pair that reaches furthest: RoCE v2 before v1; never link-local addresses when others fit; and of
 * several those between which the kernel would route, unless a nearer device is in the same network. HMC_UNSUPPORT, with the reason as text, where none fits. */
hmc_status_t hmci_verbs_gid_choose(const verbs_gid_t *mine, uint32_t mine_count, const verbs_gid_t *theirs,
                                   uint32_t theirs_count, hmci_verbs_route_t *route, uint32_t *my_choice,
                                   uint32_t *their_choice);

#endif
