// Every format of weights, and the lists that the kernels of a family are made from.
#pragma once
#include "formats.cuh"
#include "grid_formats.cuh"

// KERNEL(struct, end of the kernel's name), for the formats that matmul expands to half precision. F32 stands alone.
#define HALF_FORMATS(KERNEL) KERNEL(F16, f16) KERNEL(BF16, bf16)

#define BLOCK_FORMATS(KERNEL) \
    KERNEL(Q4_0, q4_0)        \
    KERNEL(Q4_1, q4_1)        \
    KERNEL(Q5_0, q5_0)        \
    KERNEL(Q5_1, q5_1)        \
    KERNEL(Q8_0, q8_0)        \
    KERNEL(IQ4_NL, iq4_nl)    \
    KERNEL(MXFP4, mxfp4)      \
    KERNEL(Q2_K, q2_k)        \
    KERNEL(Q3_K, q3_k)        \
    KERNEL(Q4_K, q4_k)        \
    KERNEL(Q5_K, q5_k)        \
    KERNEL(Q6_K, q6_k)        \
    KERNEL(IQ4_XS, iq4_xs)    \
    KERNEL(IQ2_XXS, iq2_xxs)  \
    KERNEL(IQ2_XS, iq2_xs)    \
    KERNEL(IQ2_S, iq2_s)      \
    KERNEL(IQ3_XXS, iq3_xxs)  \
    KERNEL(IQ3_S, iq3_s)      \
    KERNEL(IQ1_S, iq1_s)      \
    KERNEL(IQ1_M, iq1_m)      \
    KERNEL(TQ1_0, tq1_0)      \
    KERNEL(TQ2_0, tq2_0)
