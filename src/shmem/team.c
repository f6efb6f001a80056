/* Teams: handles are places in a table of this PE (handles.c); slots of the control blocks are agreed upon among a team's members.
 *
 * Locking: teams_lock guards the table and which slots are free; a team itself changes in collective calls only, which one
 * thread at a time may make. Another thread may split another team at that time. */
#include "alias.h"
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t free_slots[HMCI_TEAMS / 64];
static pthread_mutex_t teams_lock = PTHREAD_MUTEX_INITIALIZER;

/* False where it is taken. */
static bool take_slot(int slot) {
  uint64_t bit = 1ull << slot % 64;
  pthread_mutex_lock(&teams_lock);
  bool is_free = free_slots[slot / 64] & bit;
  free_slots[slot / 64] &= ~bit;
  pthread_mutex_unlock(&teams_lock);
  return is_free;
}

static void give_slot(int slot) {
  pthread_mutex_lock(&teams_lock);
  free_slots[slot / 64] |= 1ull << slot % 64;
  pthread_mutex_unlock(&teams_lock);
}

/* ---- making and ending --------------------------------------------------------------------------------------------- */

static void choose_ways(hmci_group_t *group) {
  group->near = true;
  for (int i = 0; i < group->n; i++) group->near = group->near && hmci_pe.base[hmci_member(group, i)];
  group->central = group->near && group->n > sysconf(_SC_NPROCESSORS_ONLN);
  group->by_tree = !group->near && hmci_pe.is_crowded;
}

/* Enters a team into the table; NULL without memory or a free handle, and where `members`, which goes over to it, is the
 * only thing that could say who they are and is NULL (stride 0). */
static hmci_team_t *add_team(int me, int n, int start, int stride, int *members, int slot, shmem_team_t *handle) {
  hmci_team_t *team = members || stride ? calloc(1, sizeof *team) : NULL;
  if (!team) {
    free(members);
    return NULL;
  }
  team->group = (hmci_group_t){.me = me, .n = n, .start = start, .stride = stride, .members = members, .slot = slot};
  team->own_members = members;
  team->group.rounds = &team->round_count;
  team->group.climbs = &team->climb_count;
  choose_ways(&team->group);
  pthread_mutex_lock(&teams_lock);
  int place = 0;
  while (place < HMCI_TEAMS && hmci_teams[place]) place++;
  if (place < HMCI_TEAMS) hmci_teams[place] = team;
  pthread_mutex_unlock(&teams_lock);
  if (place == HMCI_TEAMS) {
    free(members);
    free(team);
    return NULL;
  }
  *handle = place;
  return team;
}

static void remove_team(shmem_team_t handle) {
  hmci_team_t *team = hmci_teams[handle];
  while (team->contexts) shmem_ctx_destroy(team->contexts);
  pthread_mutex_lock(&teams_lock);
  hmci_teams[handle] = NULL;
  pthread_mutex_unlock(&teams_lock);
  if (team->group.slot >= 0) give_slot(team->group.slot);
  free(team->own_members);
  free(team);
}

static void add_shared_team(void) {
  int *members = malloc((size_t)hmci_pe.n_locals * sizeof *members);
  if (!members) hmci_die("no memory for the team of this host");
  int me = 0;
  for (int i = 0; i < hmci_pe.n_locals; i++) {
    members[i] = hmci_pe.locals[i];
    if (members[i] == hmci_pe.me) me = i;
  }
  shmem_team_t handle;
  if (!add_team(me, hmci_pe.n_locals, 0, 0, members, 1, &handle)) hmci_die("no memory for the team of this host");
}

void hmci_teams_open(void) {
  memset(free_slots, 0xff, sizeof free_slots);
  take_slot(0);
  take_slot(1);
  shmem_team_t handle;
  if (!add_team(hmci_pe.me, hmci_pe.n, 0, 1, NULL, 0, &handle)) hmci_die("no memory for the team of all PEs");
  add_shared_team();
}

void hmci_teams_close(void) {
  for (int i = 0; i < HMCI_TEAMS; i++) {
    if (hmci_teams[i]) remove_team(i);
  }
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

int shmem_team_my_pe(shmem_team_t team) {
  hmci_team_t *found = hmci_team_find(team);
  return found ? found->group.me : -1;
}

int shmem_team_n_pes(shmem_team_t team) {
  hmci_team_t *found = hmci_team_find(team);
  return found ? found->group.n : -1;
}

static int number_of(const hmci_group_t *group, int pe) {
  if (group->members) {
    for (int i = 0; i < group->n; i++) {
      if (group->members[i] == pe) return i;
    }
    return -1;
  }
  int distance = pe - group->start;
  if (group->stride == 0 || distance % group->stride) return group->n == 1 && distance == 0 ? 0 : -1;
  int number = distance / group->stride;
  return number >= 0 && number < group->n ? number : -1;
}

int shmem_team_translate_pe(shmem_team_t src_team, int src_pe, shmem_team_t dest_team) {
  hmci_team_t *source = hmci_team_find(src_team);
  hmci_team_t *dest = hmci_team_find(dest_team);
  if (!source || !dest || src_pe < 0 || src_pe >= source->group.n) return -1;
  return number_of(&dest->group, hmci_member(&source->group, src_pe));
}

int shmem_team_get_config(shmem_team_t team, long config_mask, shmem_team_config_t *config) {
  hmci_team_t *found = hmci_team_find(team);
  if (!found) return -1;
  if (config_mask & SHMEM_TEAM_NUM_CONTEXTS && config) config->num_contexts = found->num_contexts;
  return 0;
}

/* ---- splitting ----------------------------------------------------------------------------------------------------- */

static void and_words(void *into, const void *from, size_t count) {
  uint64_t *words = into;
  const uint64_t *others = from;
  for (size_t i = 0; i < count; i++) words[i] &= others[i];
}

/* The free slots that all members of the parent have in common. A member that cannot go on says that it has none: so
 * all of them fail. */
static void common_slots(hmci_group_t *parent, bool can, uint64_t *common) {
  uint64_t mine[HMCI_TEAMS / 64] = {0};
  pthread_mutex_lock(&teams_lock);
  if (can) memcpy(mine, free_slots, sizeof mine);
  pthread_mutex_unlock(&teams_lock);
  memcpy(common, mine, sizeof mine);
  hmci_group_combine(parent, common, mine, sizeof mine, HMCI_TEAMS / 64, and_words);
}

/* The first one from `start` on, and around. */
static int find_slot(const uint64_t *common, unsigned start) {
  for (unsigned i = start; i < start + HMCI_TEAMS; i++) {
    unsigned slot = i % HMCI_TEAMS;
    if (common[slot / 64] >> slot % 64 & 1) return (int)slot;
  }
  return -1;
}

/* A slot that other teams had before: its words start from zero again at each member. Between two collectives of the
 * parent, so that nobody writes meanwhile. */
static void clear_slot(int slot) {
  hmci_slot_t *mine = &hmci_my_control()->slots[slot];
  memset((void *)mine, 0, sizeof *mine);
}

/* A slot that was free at all members of the parent, taken at those that `join`; -1: there is none, or a member cannot go
 * on. Where a thread that splits another team takes it first at one of them, all look for another one, and not where that
 * team looks. Nobody waits for anything but the parent's members meanwhile. */
static int agree_on_slot(hmci_group_t *parent, bool can, bool joins) {
  for (unsigned attempt = 0;; attempt++) {
    uint64_t common[HMCI_TEAMS / 64];
    common_slots(parent, can, common);
    int slot = find_slot(common, attempt * (unsigned)parent->slot * 29);
    if (slot < 0) return -1;
    bool has = joins && take_slot(slot);
    if (has) clear_slot(slot);
    uint64_t mine = has || !joins, all = mine;
    hmci_group_combine(parent, &all, &mine, sizeof mine, 1, and_words);
    if (all) return slot;
    if (has) give_slot(slot);
    if (hmci_is_interrupted()) return -1;
  }
}

/* Members of a team to be, as numbers in the parent. */
typedef struct triplet {
  int start, stride, size;
} triplet_t;

static bool is_inside(const hmci_group_t *parent, const triplet_t *of) {
  if (of->size < 1 || of->start < 0 || of->start >= parent->n || (of->stride == 0 && of->size > 1)) return false;
  long last = of->start + (long)(of->size - 1) * of->stride;
  return last >= 0 && last < parent->n;
}

/* This PE's number in the triplet, or -1. */
static int number_in(const hmci_group_t *parent, const triplet_t *of) {
  for (int i = 0; i < of->size; i++) {
    if (of->start + i * of->stride == parent->me) return i;
  }
  return -1;
}

static int *list_members(const hmci_group_t *parent, const triplet_t *of) {
  int *members = malloc((size_t)of->size * sizeof *members);
  for (int i = 0; members && i < of->size; i++) members[i] = hmci_member(parent, of->start + i * of->stride);
  return members;
}

/* The team of a triplet; NULL: this PE's arguments are bad, so nobody shall get one. Members of the parent that are
 * not of the triplet help to agree. Collective over the parent: it works at all of them, or at none. */
static int make_team(hmci_group_t *parent, const triplet_t *of, const shmem_team_config_t *config, long config_mask,
                     shmem_team_t *new_team) {
  int me = of ? number_in(parent, of) : -1;
  hmci_team_t *team = me >= 0 ? add_team(me, of->size, 0, 0, list_members(parent, of), -1, new_team) : NULL;
  int slot = agree_on_slot(parent, of && (me < 0 || team), team);
  if (slot < 0) {
    if (team) remove_team(*new_team);
    if (new_team) *new_team = SHMEM_TEAM_INVALID;
    return -1;
  }
  if (team) {
    team->group.slot = slot;
    if (config && config_mask & SHMEM_TEAM_NUM_CONTEXTS) team->num_contexts = config->num_contexts;
  }
  return 0;
}

static void check_place(const char *call, const shmem_team_t *new_team) {
  if (hmci_pe.checks && !new_team) hmci_die("%s: there is no place for the new team: give a pointer to one", call);
}

int shmem_team_split_strided(shmem_team_t parent_team, int start, int stride, int size,
                             const shmem_team_config_t *config, long config_mask, shmem_team_t *new_team) {
  if (new_team) *new_team = SHMEM_TEAM_INVALID;
  hmci_team_t *parent = hmci_team_find(parent_team);
  if (!parent) return -1;
  check_place("shmem_team_split_strided", new_team);
  hmci_agree(&parent->group, &(hmci_collective_t){"shmem_team_split_strided", NULL, NULL, (uint64_t)size, start});
  triplet_t triplet = {start, stride, size};
  bool is_good = new_team && is_inside(&parent->group, &triplet);
  return make_team(&parent->group, is_good ? &triplet : NULL, config, config_mask, new_team);
}

static triplet_t row_of(const hmci_group_t *group, int xrange) {
  int row = group->me / xrange, last = (group->n - 1) / xrange;
  return (triplet_t){row * xrange, 1, row == last ? group->n - row * xrange : xrange};
}

static triplet_t column_of(const hmci_group_t *group, int xrange) {
  int column = group->me % xrange;
  return (triplet_t){column, xrange, (group->n - column + xrange - 1) / xrange};
}

int shmem_team_split_2d(shmem_team_t parent_team, int xrange, const shmem_team_config_t *xaxis_config, long xaxis_mask,
                        shmem_team_t *xaxis_team, const shmem_team_config_t *yaxis_config, long yaxis_mask,
                        shmem_team_t *yaxis_team) {
  if (xaxis_team) *xaxis_team = SHMEM_TEAM_INVALID;
  if (yaxis_team) *yaxis_team = SHMEM_TEAM_INVALID;
  hmci_team_t *parent = hmci_team_find(parent_team);
  if (!parent) return -1;
  check_place("shmem_team_split_2d", xaxis_team);
  check_place("shmem_team_split_2d", yaxis_team);
  hmci_group_t *group = &parent->group;
  hmci_agree(group, &(hmci_collective_t){"shmem_team_split_2d", NULL, NULL, (uint64_t)xrange, 0});
  if (!xaxis_team || !yaxis_team || xrange < 1) return make_team(group, NULL, NULL, 0, NULL);
  if (xrange > group->n) xrange = group->n;
  triplet_t row = row_of(group, xrange), column = column_of(group, xrange);
  if (make_team(group, &row, xaxis_config, xaxis_mask, xaxis_team)) return -1;
  return make_team(group, &column, yaxis_config, yaxis_mask, yaxis_team);
}

void shmem_team_destroy(shmem_team_t team) {
  hmci_team_t *found = hmci_team_find(team);
  if (!found || team == SHMEM_TEAM_WORLD || team == SHMEM_TEAM_SHARED) return;
  hmci_agree(&found->group, &(hmci_collective_t){.call = "shmem_team_destroy"});
  /* By flags, which each PE awaits in its own memory: a counter at the first PE would be looked at by late ones while
   * the slot has its next team. */
  found->group.central = false;
  hmci_group_sync(&found->group);
  remove_team(team);
}

int shmem_team_sync(shmem_team_t team) {
  hmci_team_t *found = hmci_team_find(team);
  if (!found) {
    if (hmci_pe.checks) {
      hmci_die("shmem_team_sync: %d is not a team: give what a split made, or SHMEM_TEAM_WORLD", team);
    }
    return -1;
  }
  hmci_agree(&found->group, &(hmci_collective_t){.call = "shmem_team_sync"});
  hmci_group_sync(&found->group);
  return 0;
}

PROFILED(shmem_team_my_pe);
PROFILED(shmem_team_n_pes);
PROFILED(shmem_team_translate_pe);
PROFILED(shmem_team_get_config);
PROFILED(shmem_team_split_strided);
PROFILED(shmem_team_split_2d);
PROFILED(shmem_team_destroy);
PROFILED(shmem_team_sync);
