/* Choosing GIDs (see gid.h).
 *
 * A RoCE v2 GID is an IP address: packets go by the kernel's neighbours and the network's routes, so that what fits
 * is what IP says. InfiniBand GIDs meet in a subnet, known by the upper half; those of RoCE v1 in one Ethernet, which
 * nothing here can see. */
#include "gid.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
  WORTH_NEAR = 4,    /* more, for a device at a node that the process is bound to */
  WORTH_ROUTED = 50, /* the kernel would send from this address to that one */
  WORTH_LINK = 48,   /* both are in one network */
  WORTH_SAME = 45,   /* both ends are one device */
  WORTH_IP = 30,
  WORTH_SUBNET = 30, /* InfiniBand */
  WORTH_LOCAL = 10,  /* link-local addresses: right only where both are on one Ethernet */
  WORTH_V1 = 5,
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_mapped(const uint8_t *raw) { return memcmp(raw, mapped_prefix, sizeof mapped_prefix) == 0; }

static bool is_link_local(const uint8_t *raw) {
  if (is_mapped(raw)) return raw[12] == 169 && raw[13] == 254;
  return raw[0] == 0xfe && (raw[1] & 0xc0) == 0x80;
}

static bool is_zero(const uint8_t *raw) {
  static const uint8_t zero[16];
  return memcmp(raw, zero, sizeof zero) == 0;
}

void hmci_verbs_gid_text(const uint8_t raw[16], char text[VERBS_GID_TEXT]) {
  if (is_mapped(raw)) {
    inet_ntop(AF_INET, raw + 12, text, VERBS_GID_TEXT);
  } else {
    inet_ntop(AF_INET6, raw, text, VERBS_GID_TEXT);
  }
}

unsigned hmci_verbs_gid_worth(const verbs_gid_t *gid) {
  if (is_zero(gid->raw)) return 0;
  if (gid->layer == IBV_LINK_LAYER_INFINIBAND) return gid->lid ? WORTH_SUBNET : 0;
  if (gid->type != IBV_GID_TYPE_ROCE_V2) return WORTH_V1;
  return is_link_local(gid->raw) ? WORTH_LOCAL : WORTH_IP;
}

bool hmci_verbs_route(const uint8_t peer[16], uint8_t source[16]) {
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(4791)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(4791)};
  bool mapped = is_mapped(peer);
  if (is_link_local(peer)) return false;
  memcpy(&v4.sin_addr, peer + 12, 4);
  memcpy(&v6.sin6_addr, peer, 16);
  struct sockaddr *address = mapped ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
  socklen_t size = mapped ? sizeof v4 : sizeof v6;
  int probe = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  bool found = connect(probe, address, size) == 0 && getsockname(probe, address, &size) == 0;
  close(probe);
  if (!found) return false;
  memcpy(source, mapped_prefix, sizeof mapped_prefix);
  if (mapped) {
    memcpy(source + 12, &v4.sin_addr, 4);
  } else {
    memcpy(source, &v6.sin6_addr, 16);
  }
  return true;
}

static bool starts_alike(const uint8_t *one, const uint8_t *other, unsigned bits) {
  unsigned bytes = bits / 8, mask = 0xff00u >> bits % 8 & 0xff;
  return memcmp(one, other, bytes) == 0 && (!mask || ((one[bytes] ^ other[bytes]) & mask) == 0);
}

/* As a GID, with the bits of its network; false: it is not an IP address. */
static bool as_gid(const struct sockaddr *address, const struct sockaddr *mask, uint8_t raw[16], unsigned *bits) {
  const uint8_t *part;
  size_t size;
  *bits = 0;
  if (!address || !mask) return false;
  if (address->sa_family == AF_INET) {
    memcpy(raw, mapped_prefix, sizeof mapped_prefix);
    memcpy(raw + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    part = (const uint8_t *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr;
    size = 4;
    *bits = 8 * sizeof mapped_prefix;
  } else if (address->sa_family == AF_INET6) {
    memcpy(raw, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    part = (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr;
    size = 16;
  } else {
    return false;
  }
  for (size_t i = 0; i < size; i++) *bits += (unsigned)__builtin_popcount(part[i]);
  return true;
}

uint8_t hmci_verbs_gid_prefix(const uint8_t raw[16]) {
  struct ifaddrs *list = NULL;
  unsigned longest = 0;
  if (getifaddrs(&list)) return 0;
  for (const struct ifaddrs *one = list; one; one = one->ifa_next) {
    uint8_t own[16];
    unsigned bits;
    if (!as_gid(one->ifa_addr, one->ifa_netmask, own, &bits) || bits <= longest) continue;
    if (is_mapped(own) == is_mapped(raw) && starts_alike(own, raw, bits)) longest = bits;
  }
  freeifaddrs(list);
  return (uint8_t)longest;
}

/* What a pair is worth; 0: they cannot reach each other. `source`: where the route to `theirs` starts, NULL: there
 * is none. */
static unsigned worth_of_way(const verbs_gid_t *mine, const verbs_gid_t *theirs, const uint8_t *source) {
  unsigned worth = hmci_verbs_gid_worth(mine), other = hmci_verbs_gid_worth(theirs);
  if (mine->layer != theirs->layer || mine->type != theirs->type || !worth || worth != other) return 0;
  if (worth == WORTH_V1) return worth;
  if (mine->layer == IBV_LINK_LAYER_INFINIBAND) return memcmp(mine->raw, theirs->raw, 8) == 0 ? worth : 0;
  if (is_mapped(mine->raw) != is_mapped(theirs->raw)) return 0;
  if (worth == WORTH_LOCAL) return worth;
  if (source && memcmp(source, mine->raw, 16) == 0) return WORTH_ROUTED;
  if (mine->prefix && starts_alike(mine->raw, theirs->raw, mine->prefix)) return WORTH_LINK;
  if (memcmp(mine->raw, theirs->raw, 16) == 0) return WORTH_SAME;
  return source ? worth : 0;
}

static unsigned worth_of_pair(const verbs_gid_t *mine, const verbs_gid_t *theirs, const uint8_t *source) {
  unsigned worth = worth_of_way(mine, theirs, source);
  return worth && mine->near ? worth + WORTH_NEAR : worth;
}

static void list_addresses(const verbs_gid_t *gids, uint32_t count, char *text, size_t size) {
  size_t used = 0;
  snprintf(text, size, "none");
  for (uint32_t i = 0; i < count && used < size; i++) {
    char address[VERBS_GID_TEXT];
    hmci_verbs_gid_text(gids[i].raw, address);
    used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", address);
  }
}

hmc_status_t hmci_verbs_gid_choose(const verbs_gid_t *mine, uint32_t mine_count, const verbs_gid_t *theirs,
                                   uint32_t theirs_count, hmci_verbs_route_t *route, uint32_t *my_choice,
                                   uint32_t *their_choice) {
  unsigned best = 0;
  for (uint32_t t = 0; t < theirs_count; t++) {
    uint8_t source[16];
    bool ip = theirs[t].layer == IBV_LINK_LAYER_ETHERNET && theirs[t].type == IBV_GID_TYPE_ROCE_V2;
    bool routed = ip && route(theirs[t].raw, source);
    for (uint32_t m = 0; m < mine_count; m++) {
      unsigned worth = worth_of_pair(&mine[m], &theirs[t], routed ? source : NULL);
      if (worth <= best) continue;
      best = worth;
      *my_choice = m;
      *their_choice = t;
    }
  }
  if (best) return HMC_SUCCESS;
  char here[200], there[200];
  list_addresses(mine, mine_count, here, sizeof here);
  list_addresses(theirs, theirs_count, there, sizeof there);
  return hmci_fail(HMC_UNSUPPORT,
                   "no RDMA port of this side reaches one of the peer (here: %s; there: %s): ip route shows the "
                   "ways, docs/rdma.md says which addresses fit",
                   here, there);
}
