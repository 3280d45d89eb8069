package dev.prefetch.cuda;

import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;

/** Addresses in and out of JCuda's pointers, whose constructors and getters are protected. */
final class NativePointer extends Pointer {

    /** Null, to be set by the driver. */
    NativePointer() {}

    /** Any address of host memory, without a buffer and its limit of 2 GiB. */
    NativePointer(long address) {
        super(address);
    }

    long address() {
        return getNativePointer() + getByteOffset();
    }

    /** A pointer into device memory. */
    static final class InDevice extends CUdeviceptr {

        private static final CUdeviceptr NULL = new CUdeviceptr();

        /** Null, to be set by the driver. */
        InDevice() {}

        /** Any address of the device. */
        InDevice(long address) {
            super(NULL, address);
        }

        long address() {
            return getNativePointer() + getByteOffset();
        }
    }
}
