/* Collectives of groups with far members, along a tree.
 *
 * Where many PEs share processors, what a collective costs is the number of its messages: a tree needs two for each member,
 * one up and one down, where a dissemination needs log2 n and pushing to everybody n. Small data go with the messages, so
 * that a reduction costs what a synchronisation does.
 *
 * A node of the tree stands for members that follow each other: the first one of them is the node, the others are divided
 * among at most HMCI_FAN children. So values are combined in the order of the members. Each member counts in its own slot
 * the messages of its children and awaits there the round that its parent releases. The next message of a child comes only
 * after its parent has released it, and so on upwards: one place for the data of each is enough. */
#include "tree.h"

#include <string.h>

typedef struct tree {
  int parent, place;   /* -1 at the root; this node's place among the children of its parent */
  int end;             /* the node stands for the members from `me` to the one before this */
  int n;               /* children */
  int child[HMCI_FAN]; /* ascending; each stands for the members up to the next one */
} tree_t;

/* A node's children each stand for so many members, the last one perhaps for fewer. */
static int share_of(int members) { return (members + HMCI_FAN - 1) / HMCI_FAN; }

static tree_t tree_of(const hmci_group_t *group) {
  tree_t tree = {.parent = -1, .end = group->n};
  for (int node = 0; node != group->me;) {
    int each = share_of(tree.end - node - 1);
    tree.parent = node;
    tree.place = (group->me - node - 1) / each;
    node += 1 + tree.place * each;
    if (node + each < tree.end) tree.end = node + each;
  }
  int each = share_of(tree.end - group->me - 1);
  for (int at = group->me + 1; at < tree.end; at += each) tree.child[tree.n++] = at;
  return tree;
}

/* Each collective counts as a synchronisation too. */
static tree_t begin(hmci_group_t *group) {
  ++*group->rounds;
  ++*group->climbs;
  return tree_of(group);
}

static hmci_slot_t *my_slot(const hmci_group_t *group) { return &hmci_my_control()->slots[group->slot]; }

/* ---- messages ---------------------------------------------------------------------------------------------------------- */

/* Bytes and then a word for a member; both addresses are symmetric, as they are here. The word is set, or 1 is added. Only
 * what the queue copies is free again when it returns. */
typedef struct message {
  const void *dest;
  const void *source;
  size_t size;
  _Atomic uint64_t *word;
  uint64_t value; /* 0: add 1 */
} message_t;

static void send_near(int pe, const message_t *message) {
  char *base = hmci_pe.base[pe];
  if (message->size) memcpy(base + hmci_offset(message->dest), message->source, message->size);
  _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(base + ((char *)message->word - hmci_pe.part));
  if (message->value) {
    atomic_store_explicit(word, message->value, memory_order_release); /* partner: hmci_wait_word */
  } else {
    atomic_fetch_add_explicit(word, 1, memory_order_release); /* the same */
  }
  hmci_ring(pe, HMCI_FOR_FLAG);
}

static void send_far(int pe, const message_t *message) {
  size_t word = (size_t)((char *)message->word - hmci_pe.part);
  bool add = !message->value;
  uint64_t value = add ? 1 : message->value;
  if (message->size) {
    bool is_copied = message->size <= HMC_QUEUE_COPIED; /* more is for the program's next quiet */
    hmci_far_put_signal(is_copied ? NULL : hmci_context(SHMEM_CTX_DEFAULT, NULL), pe, hmci_offset(message->dest),
                        message->source, message->size, word, value, add, false);
  } else {
    hmci_far_atomic(NULL, pe, word, add ? HMC_ATOMIC_ADD : HMC_ATOMIC_STORE, 8, value, 0, false);
    hmci_far_push(NULL);
  }
}

static void send(const hmci_group_t *group, int to, const message_t *message) {
  int pe = hmci_member(group, to);
  if (hmci_pe.base[pe]) {
    send_near(pe, message);
  } else {
    send_far(pe, message);
  }
}

static void await_children(const hmci_group_t *group, const tree_t *tree) {
  if (tree->n) hmci_wait_word(&my_slot(group)->arrived, *group->climbs * (uint64_t)tree->n);
}

static void send_up(const hmci_group_t *group, const tree_t *tree, const void *dest, const void *source, size_t size) {
  message_t message = {dest, source, size, &my_slot(group)->arrived, 0};
  if (tree->parent >= 0) send(group, tree->parent, &message);
}

static void await_parent(const hmci_group_t *group, const tree_t *tree) {
  if (tree->parent >= 0) hmci_wait_word(&my_slot(group)->released, *group->climbs);
}

static void send_down(const hmci_group_t *group, int to, const void *dest, const void *source, size_t size) {
  message_t message = {dest, source, size, &my_slot(group)->released, *group->climbs};
  send(group, to, &message);
}

/* ---- collectives ------------------------------------------------------------------------------------------------------- */

void hmci_tree_sync(hmci_group_t *group) {
  tree_t tree = begin(group);
  await_children(group, &tree);
  send_up(group, &tree, NULL, NULL, 0);
  await_parent(group, &tree);
  for (int i = 0; i < tree.n; i++) send_down(group, tree.child[i], NULL, NULL, 0);
}

/* What the members of this node come to, to the parent. */
static void climb(const hmci_group_t *group, const tree_t *tree, void *value, size_t size, size_t count,
                  hmci_combine_t combine) {
  hmci_slot_t *slot = my_slot(group);
  await_children(group, tree);
  for (int i = 0; i < tree->n; i++) combine(value, slot->inbox[i], count);
  send_up(group, tree, slot->inbox[tree->place], value, size);
}

void hmci_tree_combine(hmci_group_t *group, void *into, const void *from, size_t size, size_t count,
                       hmci_combine_t combine) {
  tree_t tree = begin(group);
  void *result = my_slot(group)->result;
  _Alignas(16) uint8_t value[HMCI_SLOT_BYTES];
  memcpy(value, from, size);
  climb(group, &tree, value, size, count, combine);
  await_parent(group, &tree);
  if (tree.parent >= 0) memcpy(value, result, size);
  for (int i = 0; i < tree.n; i++) send_down(group, tree.child[i], result, value, size);
  memcpy(into, value, size);
}

void hmci_tree_scan(hmci_group_t *group, void *before, const void *from, size_t size, size_t count,
                    hmci_combine_t combine) {
  tree_t tree = begin(group);
  hmci_slot_t *slot = my_slot(group);
  _Alignas(16) uint8_t sum[HMCI_SLOT_BYTES], next[HMCI_SLOT_BYTES];
  memcpy(sum, from, size);
  memcpy(next, from, size);
  climb(group, &tree, sum, size, count, combine);
  await_parent(group, &tree);
  if (tree.parent >= 0) {
    memcpy(before, slot->result, size);
    memcpy(sum, slot->result, size);
    combine(sum, next, count);
  } else {
    memset(before, 0, size);
    memcpy(sum, next, size);
  }
  for (int i = 0; i < tree.n; i++) {
    memcpy(next, sum, size);
    combine(next, slot->inbox[i], count); /* the child may write there as soon as it has heard */
    send_down(group, tree.child[i], slot->result, sum, size);
    memcpy(sum, next, size);
  }
}

static void add_words(void *into, const void *from, size_t count) {
  for (size_t i = 0; i < count; i++) ((uint64_t *)into)[i] += ((const uint64_t *)from)[i];
}

hmci_blocks_t hmci_tree_blocks(hmci_group_t *group, uint64_t size) {
  tree_t tree = begin(group);
  hmci_slot_t *slot = my_slot(group);
  uint64_t below = size, down[2]; /* the bytes before a member, and of all */
  climb(group, &tree, &below, sizeof below, 1, add_words);
  await_parent(group, &tree);
  memcpy(down, slot->result, sizeof down);
  if (tree.parent < 0) memcpy(down, (uint64_t[]){0, below}, sizeof down);
  hmci_blocks_t blocks = {.before = down[0], .size = size, .below = below, .all = down[1]};
  down[0] += size;
  for (int i = 0; i < tree.n; i++) {
    uint64_t next = down[0];
    add_words(&next, slot->inbox[i], 1); /* the child may write there as soon as it has heard */
    send_down(group, tree.child[i], slot->result, down, sizeof down);
    down[0] = next;
  }
  return blocks;
}

hmci_blocks_t hmci_tree_equal_blocks(const hmci_group_t *group, uint64_t size) {
  uint64_t me = (uint64_t)group->me, members = (uint64_t)(tree_of(group).end - group->me);
  return (hmci_blocks_t){.before = me * size, .size = size, .below = members * size, .all = (uint64_t)group->n * size};
}

void hmci_tree_collect(hmci_group_t *group, void *dest, const void *source, const hmci_blocks_t *blocks) {
  tree_t tree = begin(group);
  char *mine = (char *)dest + blocks->before;
  if (blocks->size) hmci_move(mine, source, blocks->size);
  await_children(group, &tree);
  send_up(group, &tree, mine, mine, blocks->below);
  await_parent(group, &tree);
  for (int i = 0; i < tree.n; i++) send_down(group, tree.child[i], dest, dest, blocks->all);
  if (blocks->all > HMC_QUEUE_COPIED) shmem_quiet(); /* dest is the program's again */
}
