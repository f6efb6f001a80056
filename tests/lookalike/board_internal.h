/* What the files of the board share. */
#ifndef LOOKALIKE_BOARD_INSIDE_H
#define LOOKALIKE_BOARD_INSIDE_H

#include "board.h"

enum { BOARD_DEVICES_MOST = 8 };

/* Invariant: an area is in the table once, and its bytes stay mapped while it has references. */
typedef struct board_area {
  uintptr_t start;
  size_t size, mapped;
  board_kind_t kind;
  int device;
  uint8_t *bytes;      /* where the host reaches them */
  int descriptor;      /* of an allocation's memfd, or -1 */
  bool keeps_address;  /* the reserved addresses outlive it */
  unsigned accessible; /* by which devices: a bit each */
  board_physical_t *physical;
  _Atomic int references;
} board_area_t;

/* A place that a copy reads or writes, with a reference to its area (NULL: plain host memory). */
typedef struct board_place {
  uint8_t *bytes;
  board_area_t *area;
} board_place_t;

board_status_t board_check(int device);
/* Finds the bytes of a side of a copy and takes a reference. */
board_status_t board_take(int device, const void *pointer, size_t size, board_direction_t direction, bool is_target,
                          bool need_peer, board_place_t *place);
void board_drop(board_area_t *area);

#endif
