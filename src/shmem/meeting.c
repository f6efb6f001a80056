/* How PEs meet at PE 0, whose address all were given, and what they say where that fails.
 *
 * All others dial PE 0 and say hello: where their children in the tree will find them, for how many PEs they were
 * started, and a random number, by which a PE knows an answer that is another's. PE 0 welcomes each with the place of its
 * parent; the link to PE 0 ends with that, unless PE 0 is the parent. When PE 0 has welcomed all, READY goes down the
 * tree. Where something is wrong, its text goes there instead, so that every PE says what PE 0 knows; PE 0 gives up a
 * little before the others for that.
 *
 * Locking: none; one thread. */
#include "meeting.h"
#include "state.h"

#include <arpa/inet.h>
#include <hmc/settings.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HELLO = 303, WELCOME = 304, READY = 305, REFUSED = 306 };
enum { TEXT = 600, TELL_MS = 200, GLANCE_MS = 1, NAMED = 8 };

/* Where a rank listens; as it travels. */
typedef struct listener {
  uint8_t ip[4];
  uint8_t port[2]; /* network order; 0: it has no children */
} listener_t;

/* As they travel; a number's lowest byte is first. */
typedef struct hello {
  uint8_t number[8], size[4];
  listener_t place;
} hello_t;
typedef struct welcome {
  uint8_t number[8];
  listener_t parent;
} welcome_t;

/* ---- what is said ---------------------------------------------------------------------------------------------------- */

bool hmci_meeting_fails(const hmci_meeting_t *meeting, const char *format, ...) {
  char text[TEXT];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(stderr, "shmem: PE %d of %d does not meet the others at %s: %s\n", meeting->rank, meeting->size,
          meeting->address, text);
  return false;
}

hmc_status_t hmci_meeting_listen(hmc_control_t *control, const char *ip, uint16_t *port, char *why, size_t size) {
  hmc_status_t status = hmc_control_listen(control, ip, *port, NULL, port);
  const char *remedy = "";
  if (status == HMC_SUCCESS) return status;
  if (status == HMC_ADDRESS_IN_USE)
    remedy = ". End what listens there, or give all PEs another port; one process alone is PE 0";
  if (status == HMC_INVALID_CONFIG) remedy = ". PE 0 has to run on the host of that address";
  snprintf(why, size, "%s%s", hmc_last_error(), remedy);
  return status;
}

/* The rest of a text in one line: "3 s", "250 ms". */
static const char *time_of(uint64_t ms, char text[24]) {
  snprintf(text, 24, ms % 1000 ? "%llu ms" : "%llu s", (unsigned long long)(ms % 1000 ? ms : ms / 1000));
  return text;
}

/* ---- time ------------------------------------------------------------------------------------------------------------ */

static uint64_t now_ms(void) { return hmci_now_ns() / 1000000; }
static uint64_t left(uint64_t until) { return now_ms() < until ? until - now_ms() : 1; }

/* "30s", "1500ms", "20us" or "100ns", as the settings show a time; whole milliseconds, at least one. */
static uint64_t milliseconds_of(const char *text) {
  char *unit;
  uint64_t value = strtoull(text, &unit, 10);
  uint64_t ms = value;
  switch (*unit | 0x20) { /* the settings take either case */
  case 's': ms = value * 1000; break;
  case 'u': ms = value / 1000; break;
  case 'n': ms = value / 1000000; break;
  }
  return ms ? ms : 1;
}

/* A value that does not parse is named when the control channel is made. */
uint64_t hmci_meeting_timeout(void) {
  hmc_setting_t setting = HMC_SETTING_INIT;
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    if (hmc_settings_get(i, &setting) == HMC_SUCCESS && strcmp(setting.name, "HMC_TIMEOUT") == 0)
      return milliseconds_of(setting.value);
  }
  return 30000;
}

/* ---- PE 0 ------------------------------------------------------------------------------------------------------------ */

/* What PE 0 has heard of each PE. */
typedef struct guests {
  const hmci_meeting_t *meeting;
  uint64_t until;
  hello_t *hellos;
} guests_t;

static uint32_t size_in(const hello_t *hello) {
  return hello->size[0] | (uint32_t)hello->size[1] << 8 | (uint32_t)hello->size[2] << 16 |
         (uint32_t)hello->size[3] << 24;
}

/* Says why there will be no job, here and to all that have come. */
static bool send_home(const guests_t *guests, const char *text) {
  const hmci_meeting_t *meeting = guests->meeting;
  const char *way;
  for (int pe = 1; pe < meeting->size; pe++) {
    if (hmc_control_transport(meeting->control, (uint32_t)pe, &way) != HMC_SUCCESS) continue;
    HMC_IGNORE(hmc_control_send(meeting->control, (uint32_t)pe, REFUSED, text, strlen(text) + 1, TELL_MS));
  }
  return hmci_meeting_fails(meeting, "%s", text);
}

/* A PE of those before `end` that said hello again, by another process; 0: none. `kept`: among those whose links stay. */
static int find_double(const guests_t *guests, int end, bool kept) {
  hmc_control_t *control = guests->meeting->control;
  hello_t again;
  uint16_t type;
  size_t got;
  const char *way;
  for (int pe = 1; pe < end; pe++) {
    if ((!kept || !hmci_parent_of(pe)) && hmc_control_transport(control, (uint32_t)pe, &way) == HMC_SUCCESS &&
        hmc_control_receive(control, (uint32_t)pe, &type, &again, sizeof again, &got, GLANCE_MS) == HMC_SUCCESS &&
        type == HELLO)
      return pe;
  }
  return 0;
}

/* Those from `first` on that have not come: "PE 2" or "PEs 2, 5, 6". */
static void name_absent(const guests_t *guests, int first, char *text, size_t room) {
  int count = 0;
  size_t used = 0;
  const char *way;
  for (int pe = first; pe < guests->meeting->size; pe++) {
    if (pe > first && hmc_control_transport(guests->meeting->control, (uint32_t)pe, &way) == HMC_SUCCESS) continue;
    if (++count <= NAMED) used += (size_t)snprintf(text + used, room - used, count > 1 ? ", %d" : "%d", pe);
  }
  if (count > NAMED) snprintf(text + used, room - used, " and %d more", count - NAMED);
}

static bool misses(const guests_t *guests, int first) {
  const hmci_meeting_t *meeting = guests->meeting;
  char text[TEXT], names[NAMED * 12 + 40], took[24];
  int both = find_double(guests, first, false);
  name_absent(guests, first, names, sizeof names);
  bool several = strchr(names, ',');
  int used = snprintf(text, sizeof text, "PE%s %s of %d did not come within %s", several ? "s" : "", names,
                      meeting->size, time_of(meeting->timeout_ms, took));
  if (both) {
    snprintf(text + used, sizeof text - (size_t)used,
             ", but two processes say that they are PE %d. Give each a number of its own", both);
  } else {
    snprintf(text + used, sizeof text - (size_t)used,
             ". See what %s; each PE needs this address, a number of its own and the same secret "
             "(HMC_SECRET), and all need a longer timeout where PEs take long to start",
             several ? "they say themselves" : "it says itself");
  }
  return send_home(guests, text);
}

/* Hears one PE, and answers it: its parent has a smaller number, and so is known. */
static bool take_in(const guests_t *guests, int pe) {
  const hmci_meeting_t *meeting = guests->meeting;
  hello_t *hello = &guests->hellos[pe];
  uint32_t rank = (uint32_t)pe;
  uint16_t type;
  size_t got;
  hmc_status_t status =
      hmc_control_receive(meeting->control, rank, &type, hello, sizeof *hello, &got, left(guests->until));
  if (status != HMC_SUCCESS || type != HELLO || got != sizeof *hello) return misses(guests, pe);
  if (size_in(hello) != (uint32_t)meeting->size) {
    char text[TEXT];
    snprintf(text, sizeof text, "PE %d was started for %u PEs and PE 0 for %d. Give all the same number of PEs", pe,
             size_in(hello), meeting->size);
    return send_home(guests, text);
  }
  welcome_t welcome = {.parent = guests->hellos[hmci_parent_of(pe)].place};
  memcpy(welcome.number, hello->number, sizeof welcome.number);
  return hmc_control_send(meeting->control, rank, WELCOME, &welcome, sizeof welcome, left(guests->until)) ==
             HMC_SUCCESS ||
         misses(guests, pe);
}

static bool send_ready(const hmci_meeting_t *meeting, uint64_t until);

static bool receive_all(const hmci_meeting_t *meeting, uint64_t until) {
  guests_t guests = {.meeting = meeting, .until = until, .hellos = calloc((size_t)meeting->size, sizeof(hello_t))};
  if (!guests.hellos) return hmci_meeting_fails(meeting, "there is no memory for %d PEs", meeting->size);
  bool works = true;
  for (int pe = 1; works && pe < meeting->size; pe++) works = take_in(&guests, pe);
  int both = works ? find_double(&guests, meeting->size, true) : 0;
  if (both) {
    char text[TEXT];
    snprintf(text, sizeof text, "two processes say that they are PE %d. Give each a number of its own", both);
    works = send_home(&guests, text);
  }
  free(guests.hellos);
  return works && send_ready(meeting, until);
}

static bool be_host(const hmci_meeting_t *meeting) {
  char why[TEXT];
  uint16_t port = meeting->port;
  if (!meeting->listens && hmci_meeting_listen(meeting->control, meeting->ip, &port, why, sizeof why) != HMC_SUCCESS)
    return hmci_meeting_fails(meeting, "%s", why);
  uint64_t earlier = meeting->timeout_ms / 10 < 1000 ? meeting->timeout_ms / 10 : 1000;
  return receive_all(meeting, now_ms() + meeting->timeout_ms - earlier);
}

/* ---- the others ------------------------------------------------------------------------------------------------------ */

/* To the children in the tree, the farthest first. */
static bool pass_down(const hmci_meeting_t *meeting, uint16_t type, const char *text, uint64_t timeout_ms) {
  bool works = true;
  size_t size = text ? strlen(text) + 1 : 0;
  for (int step = hmci_reach_of(meeting->rank, meeting->size) / 2; step >= 1; step /= 2) {
    if (meeting->rank + step >= meeting->size) continue;
    works &= hmc_control_send(meeting->control, (uint32_t)(meeting->rank + step), type, text, size, timeout_ms) ==
             HMC_SUCCESS;
  }
  return works;
}

static bool send_ready(const hmci_meeting_t *meeting, uint64_t until) {
  return pass_down(meeting, READY, NULL, left(until)) ||
         hmci_meeting_fails(meeting, "a PE has ended while the others met: %s", hmc_last_error());
}

/* What a link says next, from PE 0 or the parent. */
static bool hear(const hmci_meeting_t *meeting, int from, uint16_t wanted, void *into, size_t size, uint64_t until) {
  char text[TEXT], took[24];
  uint16_t type;
  size_t got;
  hmc_status_t status =
      hmc_control_receive(meeting->control, (uint32_t)from, &type, text, sizeof text - 1, &got, left(until));
  if (status == HMC_SUCCESS && type == wanted && got == size) {
    if (size) memcpy(into, text, size);
    return true;
  }
  if (status == HMC_SUCCESS && type == REFUSED) {
    text[got] = 0;
    pass_down(meeting, REFUSED, text, TELL_MS);
    return hmci_meeting_fails(meeting, "PE 0 says: %s", text);
  }
  if (status == HMC_PEER_LOST)
    return hmci_meeting_fails(meeting,
                              "PE %d has closed its link: it has ended, or another process says that it is PE %d too. "
                              "See what the others say, and give each a number of its own",
                              from, meeting->rank);
  if (status == HMC_TIMEOUT)
    return hmci_meeting_fails(meeting,
                              "PE %d is there, but gave no answer within %s: it waits for PEs that have not come, or "
                              "another process is PE %d too and came first",
                              from, time_of(meeting->timeout_ms, took), meeting->rank);
  return hmci_meeting_fails(meeting, "PE %d answers what no PE of this release does: %s", from,
                            status == HMC_SUCCESS ? "a message of another kind" : hmc_last_error());
}

/* This host's address on the way to PE 0, which children can reach too. */
static bool find_own_address(const hmci_meeting_t *meeting, char *ip, size_t size) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *found = NULL;
  struct sockaddr_in own;
  socklen_t length = sizeof own;
  int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool works = descriptor >= 0 && getaddrinfo(meeting->ip, "1", &hints, &found) == 0 &&
               connect(descriptor, found->ai_addr, found->ai_addrlen) == 0 && /* sends nothing */
               getsockname(descriptor, (struct sockaddr *)(void *)&own, &length) == 0 &&
               inet_ntop(AF_INET, &own.sin_addr, ip, (socklen_t)size);
  if (found) freeaddrinfo(found);
  if (descriptor >= 0) close(descriptor);
  return works || hmci_meeting_fails(meeting, "this host has no IPv4 address on the way to %s", meeting->ip);
}

/* Listens where children will come. */
static bool open_listener(const hmci_meeting_t *meeting, listener_t *listener) {
  *listener = (listener_t){.port = {0}};
  if (!hmci_has_children(meeting->rank, meeting->size)) return true;
  char ip[INET_ADDRSTRLEN];
  uint16_t port;
  if (!find_own_address(meeting, ip, sizeof ip)) return false;
  if (hmc_control_listen(meeting->control, ip, 0, NULL, &port) != HMC_SUCCESS)
    return hmci_meeting_fails(meeting, "no other PE can reach this one: %s", hmc_last_error());
  inet_pton(AF_INET, ip, listener->ip);
  listener->port[0] = (uint8_t)(port >> 8);
  listener->port[1] = (uint8_t)port;
  return true;
}

static bool say_hello(const hmci_meeting_t *meeting, uint64_t until, hello_t *hello) {
  hmc_control_t *control = meeting->control;
  uint32_t rank = (uint32_t)meeting->rank, size = (uint32_t)meeting->size;
  hmc_status_t status = hmc_control_connect(control, 0, rank, meeting->ip, meeting->port, NULL, left(until));
  if (status == HMC_DENIED)
    return hmci_meeting_fails(meeting, "%s. Give all PEs the same HMC_SECRET or HMC_SECRET_FILE", hmc_last_error());
  if (status != HMC_SUCCESS) {
    return hmci_meeting_fails(meeting,
                              "PE 0 is not reached: %s. Check that PE 0 runs there and was given the same address, and "
                              "that this host may reach that port",
                              hmc_last_error());
  }
  *hello = (hello_t){.size = {(uint8_t)size, (uint8_t)(size >> 8), (uint8_t)(size >> 16), (uint8_t)(size >> 24)}};
  if (getrandom(hello->number, sizeof hello->number, 0) != sizeof hello->number) return false;
  return open_listener(meeting, &hello->place) &&
         (hmc_control_send(control, 0, HELLO, hello, sizeof *hello, left(until)) == HMC_SUCCESS ||
          hmci_meeting_fails(meeting, "PE 0 has ended: %s", hmc_last_error()));
}

static bool find_parent(const hmci_meeting_t *meeting, const listener_t *place, uint64_t until) {
  char ip[INET_ADDRSTRLEN];
  int parent = hmci_parent_of(meeting->rank);
  if (!parent) return true; /* the link to PE 0 is a part of the tree */
  uint16_t port = (uint16_t)(place->port[0] << 8 | place->port[1]);
  inet_ntop(AF_INET, place->ip, ip, sizeof ip);
  hmc_control_close(meeting->control, 0);
  return hmc_control_connect(meeting->control, (uint32_t)parent, (uint32_t)meeting->rank, ip, port, NULL,
                             left(until)) == HMC_SUCCESS ||
         hmci_meeting_fails(meeting,
                            "PE %d, its way to PE 0, is not reached: %s: all hosts of the job have to reach each other",
                            parent, hmc_last_error());
}

static bool be_guest(const hmci_meeting_t *meeting) {
  uint64_t until = now_ms() + meeting->timeout_ms;
  hello_t hello;
  welcome_t welcome = {.number = {0}};
  if (!say_hello(meeting, until, &hello) || !hear(meeting, 0, WELCOME, &welcome, sizeof welcome, until)) return false;
  if (memcmp(welcome.number, hello.number, sizeof hello.number) != 0)
    return hmci_meeting_fails(meeting, "another process says that it is PE %d too. Give each a number of its own",
                              meeting->rank);
  return find_parent(meeting, &welcome.parent, until) &&
         hear(meeting, hmci_parent_of(meeting->rank), READY, NULL, 0, until) && send_ready(meeting, until);
}

bool hmci_meet(const hmci_meeting_t *meeting) { return meeting->rank ? be_guest(meeting) : be_host(meeting); }
