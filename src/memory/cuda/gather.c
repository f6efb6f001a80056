/* Thousands of small blocks by one kernel: a block of threads copies a piece, 16 bytes a thread where the addresses allow.
 *
 * The kernel is PTX, which the driver translates for the device; nothing is needed to build it. The list of pieces lies in
 * pinned host memory, which the kernel reads; a list is used again when the event behind its kernel has come. Locking:
 * `lock` guards all of it; the driver's calls under it do not block, the first translation on a device excepted. */
#include "../driver/driver.h"
#include "api.h"

#include <string.h>

enum { LISTS = 4, PIECES = 8192, THREADS = 128, BLOCKS_MOST = 4096, NO_TIMING = 2, PORTABLE = 1, NOT_READY = 600 };

static const char kernel[] = ".version 6.3\n"
                             ".target sm_70\n"
                             ".address_size 64\n"
                             ".visible .entry hmc_gather(.param .u64 list, .param .u32 count)\n"
                             "{\n"
                             "  .reg .pred %p<4>;\n"
                             "  .reg .b16 %h<2>;\n"
                             "  .reg .b32 %r<16>;\n"
                             "  .reg .b64 %d<20>;\n"
                             "  ld.param.u64 %d1, [list];\n"
                             "  cvta.to.global.u64 %d1, %d1;\n"
                             "  ld.param.u32 %r1, [count];\n"
                             "  mov.u32 %r2, %ctaid.x;\n"
                             "  mov.u32 %r3, %nctaid.x;\n"
                             "  mov.u32 %r4, %tid.x;\n"
                             "  mov.u32 %r5, %ntid.x;\n"
                             "  cvt.u64.u32 %d10, %r4;\n" /* this thread */
                             "  cvt.u64.u32 %d11, %r5;\n" /* threads */
                             "piece:\n"
                             "  setp.ge.u32 %p1, %r2, %r1;\n"
                             "  @%p1 bra done;\n"
                             "  mul.wide.u32 %d2, %r2, 24;\n"
                             "  add.u64 %d2, %d1, %d2;\n"
                             "  ld.global.u64 %d3, [%d2];\n"    /* to */
                             "  ld.global.u64 %d4, [%d2+8];\n"  /* from */
                             "  ld.global.u64 %d5, [%d2+16];\n" /* bytes */
                             "  cvta.to.global.u64 %d3, %d3;\n"
                             "  cvta.to.global.u64 %d4, %d4;\n"
                             "  or.b64 %d6, %d3, %d4;\n"
                             "  and.b64 %d6, %d6, 15;\n"
                             "  setp.ne.u64 %p2, %d6, 0;\n"
                             "  mov.u64 %d12, 0;\n" /* where the single bytes begin */
                             "  @%p2 bra bytes;\n"
                             "  and.b64 %d12, %d5, -16;\n"
                             "  shl.b64 %d13, %d10, 4;\n"
                             "  shl.b64 %d14, %d11, 4;\n"
                             "wide:\n"
                             "  setp.ge.u64 %p1, %d13, %d12;\n"
                             "  @%p1 bra bytes;\n"
                             "  add.u64 %d15, %d4, %d13;\n"
                             "  ld.global.v4.u32 {%r8, %r9, %r10, %r11}, [%d15];\n"
                             "  add.u64 %d16, %d3, %d13;\n"
                             "  st.global.v4.u32 [%d16], {%r8, %r9, %r10, %r11};\n"
                             "  add.u64 %d13, %d13, %d14;\n"
                             "  bra wide;\n"
                             "bytes:\n"
                             "  add.u64 %d17, %d12, %d10;\n"
                             "single:\n"
                             "  setp.ge.u64 %p3, %d17, %d5;\n"
                             "  @%p3 bra next;\n"
                             "  add.u64 %d15, %d4, %d17;\n"
                             "  ld.global.u8 %h1, [%d15];\n"
                             "  add.u64 %d16, %d3, %d17;\n"
                             "  st.global.u8 [%d16], %h1;\n"
                             "  add.u64 %d17, %d17, %d11;\n"
                             "  bra single;\n"
                             "next:\n"
                             "  add.u32 %r2, %r2, %r3;\n"
                             "  bra piece;\n"
                             "done:\n"
                             "  ret;\n"
                             "}\n";

typedef struct list {
  hmci_copy_piece_t *pieces; /* pinned */
  void *event;               /* behind the kernel that reads it */
  bool used;
} list_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  bool tried;
  void *function; /* NULL: it did not load */
  list_t lists[LISTS];
} gpus[HMCI_DRIVER_DEVICES];

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

/* A kernel that cannot be had does not fail a copy: there are other ways. */
static void load(int device) {
  void *module = NULL, *function = NULL;
  gpus[device].tried = true;
  if (hmci_cuda_told(hmci_cuda.module_load(&module, kernel), "cuModuleLoadData") == HMC_SUCCESS &&
      hmci_cuda_told(hmci_cuda.module_function(&function, module, "hmc_gather"), "cuModuleGetFunction") ==
          HMC_SUCCESS) {
    gpus[device].function = function;
    return;
  }
  hmci_log(HMC_LOG_INFO, "nvidia:%d: small blocks are copied without a kernel: %s", device, hmc_last_error());
}

static bool make(list_t *list) {
  void *pieces = NULL;
  if (hmci_cuda.event_create(&list->event, NO_TIMING) != 0) return false;
  if (hmci_cuda.host_allocate(&pieces, PIECES * sizeof(hmci_copy_piece_t), PORTABLE) != 0) {
    hmci_cuda.event_destroy(list->event);
    return false;
  }
  list->pieces = pieces;
  return true;
}

/* A list that no kernel reads, or NULL. */
static list_t *take_list(int device) {
  for (int i = 0; i < LISTS; i++) {
    list_t *list = &gpus[device].lists[i];
    if (!list->pieces && !make(list)) return NULL;
    if (!list->used || hmci_cuda.event_query(list->event) != NOT_READY) {
      list->used = false;
      return list;
    }
  }
  return NULL;
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

static hmc_status_t launch(int device, list_t *list, const hmci_copy_piece_t *pieces, uint32_t count, void *stream) {
  void *where = list->pieces;
  void *parameters[] = {&where, &count};
  memcpy(list->pieces, pieces, count * sizeof *pieces);
  unsigned blocks = count < BLOCKS_MOST ? count : BLOCKS_MOST;
  hmc_status_t status =
      hmci_cuda_told(hmci_cuda.launch(gpus[device].function, blocks, 1, 1, THREADS, 1, 1, 0, stream, parameters, NULL),
                     "cuLaunchKernel");
  if (status == HMC_SUCCESS) {
    list->used = true;
    status = hmci_cuda_told(hmci_cuda.event_record(list->event, stream), "cuEventRecord");
  }
  return status;
}

hmc_status_t hmci_cuda_gather(int device, const hmci_copy_piece_t *pieces, uint32_t count, void *stream) {
  if (count > PIECES) return HMC_UNSUPPORT;
  hmc_status_t status = HMC_UNSUPPORT;
  pthread_mutex_lock(&lock);
  if (!gpus[device].tried) load(device);
  list_t *list = gpus[device].function ? take_list(device) : NULL;
  if (list) status = launch(device, list, pieces, count, stream);
  pthread_mutex_unlock(&lock);
  return status;
}
