/* The memories of this build: the one list that names their backends.
 *
 * X(folder, KIND, for people): its table is hmci_memory_<folder>, KIND is one of HMC_MEMORY_LIST, and the last is what a
 * build without it lacks. The order has no meaning: what DEFAULT takes follows from the kinds' values. */
#ifndef HMCI_MEMORY_LIST_H
#define HMCI_MEMORY_LIST_H

#define HMCI_MEMORY_LIST(X)                                                                                            \
  X(host, CPU, "the host backend")                                                                                     \
  X(cuda, NVIDIA_GPU, "the CUDA backend")                                                                              \
  X(hip, AMD_GPU, "the HIP backend")                                                                                   \
  X(cnrt, CAMBRICON_MLU, "the CNRT backend")                                                                           \
  X(acl, HUAWEI_ASCEND_NPU, "the ACL backend")                                                                         \
  X(musa, MOORE_GPU, "the MUSA backend")                                                                               \
  X(sim, SIM, "the software accelerator")

#endif
