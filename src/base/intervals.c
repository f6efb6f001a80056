/* A set of intervals (see intervals.h). */
#include "intervals.h"

/* The order of the tree: by beginnings, and among equal ones by where the members lie. */
static bool is_before(const hmci_interval_t *one, const hmci_interval_t *other) {
  return one->start != other->start ? one->start < other->start : (uintptr_t)one < (uintptr_t)other;
}

static void note_furthest(hmci_interval_t *root) {
  root->furthest = root->end;
  if (root->left && root->left->furthest > root->furthest) root->furthest = root->left->furthest;
  if (root->right && root->right->furthest > root->furthest) root->furthest = root->right->furthest;
}

/* Divides a tree into what comes before a member and the rest. */
static void split(hmci_interval_t *root, const hmci_interval_t *at, hmci_interval_t **before, hmci_interval_t **rest) {
  if (!root) {
    *before = *rest = NULL;
    return;
  }
  if (is_before(root, at)) {
    split(root->right, at, &root->right, rest);
    *before = root;
  } else {
    split(root->left, at, before, &root->left);
    *rest = root;
  }
  note_furthest(root);
}

/* All of `before` comes before all of `rest`. */
static hmci_interval_t *join(hmci_interval_t *before, hmci_interval_t *rest) {
  if (!before || !rest) return before ? before : rest;
  hmci_interval_t *root = before->priority >= rest->priority ? before : rest;
  if (root == before) {
    root->right = join(before->right, rest);
  } else {
    root->left = join(before, rest->left);
  }
  note_furthest(root);
  return root;
}

static hmci_interval_t *insert(hmci_interval_t *root, hmci_interval_t *member) {
  if (!root || member->priority > root->priority) {
    split(root, member, &member->left, &member->right);
    root = member;
  } else if (is_before(member, root)) {
    root->left = insert(root->left, member);
  } else {
    root->right = insert(root->right, member);
  }
  note_furthest(root);
  return root;
}

void hmci_intervals_add(hmci_interval_t **root, hmci_interval_t *member, uint64_t start, uint64_t end) {
  *member = (hmci_interval_t){.start = start, .end = end};
  hmci_random(&member->priority, sizeof member->priority);
  *root = insert(*root, member);
}

static hmci_interval_t *without(hmci_interval_t *root, const hmci_interval_t *member) {
  if (root == member) return join(root->left, root->right);
  if (is_before(member, root)) {
    root->left = without(root->left, member);
  } else {
    root->right = without(root->right, member);
  }
  note_furthest(root);
  return root;
}

void hmci_intervals_remove(hmci_interval_t **root, hmci_interval_t *member) { *root = without(*root, member); }

hmci_interval_t *hmci_intervals_find(hmci_interval_t *root, uint64_t start, uint64_t end) {
  if (!root || root->furthest < end) return NULL;
  if (root->start > start) return hmci_intervals_find(root->left, start, end);
  hmci_interval_t *found = hmci_intervals_find(root->right, start, end);
  if (found) return found;
  return root->end >= end ? root : hmci_intervals_find(root->left, start, end);
}
