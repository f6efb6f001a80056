"""Stands in for torch_npu: streams of the look-alike of the vendor's runtime."""

import ctypes
import os

acl = ctypes.CDLL(os.environ["HMC_ACL_LIBRARY"], mode=ctypes.RTLD_GLOBAL)
acl.aclrtMalloc.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_int]
acl.aclrtMemcpy.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
acl.aclrtFree.argtypes = [ctypes.c_void_p]


def check(code):
    if code != 0:
        raise RuntimeError("the runtime answers %d" % code)


class npu:
    @staticmethod
    def set_device(device):
        check(acl.aclInit(None))
        check(acl.aclrtSetDevice(device))
