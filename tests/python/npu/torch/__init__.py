"""Stands in for what the sample uses of torch: tensors of int32 on the host and the device."""

import ctypes

import numpy


class Tensor:
    def __init__(self, numbers, device=None):
        self.numbers, self.device = numbers, device

    def data_ptr(self):
        return self.device if self.device is not None else self.numbers.ctypes.data

    def nbytes_(self):
        return self.numbers.nbytes

    def npu(self):
        import torch_npu
        pointer = ctypes.c_void_p()
        torch_npu.check(torch_npu.acl.aclrtMalloc(pointer, self.numbers.nbytes, 0))
        torch_npu.check(torch_npu.acl.aclrtMemcpy(pointer, self.numbers.nbytes, self.data_ptr(), self.numbers.nbytes, 1))
        return Tensor(self.numbers.copy(), pointer.value)

    def cpu(self):
        import torch_npu
        back = numpy.empty_like(self.numbers)
        torch_npu.check(torch_npu.acl.aclrtMemcpy(back.ctypes.data, back.nbytes, self.device, back.nbytes, 2))
        return Tensor(back)

    def __del__(self):
        if self.device is not None:
            import torch_npu
            torch_npu.acl.aclrtFree(self.device)


def randint(low, high, size, generator):
    return Tensor(generator.integers(low, high, size, dtype=numpy.int32))


def zeros(size):
    return Tensor(numpy.zeros(size, dtype=numpy.int32))


def manual_seed(seed):
    return numpy.random.default_rng(seed)


def equal(one, other):
    return bool((one.numbers == other.numbers).all())
