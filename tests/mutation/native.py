"""Faults in what all C++ kernels share."""

from __future__ import annotations

from tests.mutation.mutant import Mutant

MUTANTS = (
    Mutant("native/math.h", "exp ends in a series of one term less", "float p = 1.0f / 5040;", "float p = 0.0f;"),
    Mutant("native/math.h", "denormal arguments of log are taken as they are",
           "const bool small = !of_sum && x < F::smallest_normal;", "const bool small = false;"),
    Mutant("native/math.h", "denormal arguments of log in single precision are taken as they are",
           "const bool small = x < Format<float>::smallest_normal;", "const bool small = false;"),
    Mutant("native/math.h", "exp of a very negative number is the least normal one",
           "return x < F::normal_lowest ? T(0) : value;", "return value;"),
    Mutant("native/math.h", "log1p in single precision takes the sum as it was rounded",
           "const float scaled = bits_as<float>(bits_as<uint32_t>(x) - power);",
           "const float scaled = bits_as<float>(bits_as<uint32_t>(sum - 1.0f) - power);"),
    Mutant("native/math.h", "log1p of infinity is a number",
           "return x < std::numeric_limits<float>::infinity() ? value : x;", "return value;"),
    Mutant("native/math.h", "log1p forgets what the sum rounded away",
           "return log_of<true>(sum, (1.0 - (sum - kept)) + (x - kept));", "return log(sum);"),
    Mutant("native/rows.cpp", "half precision is cut, not rounded",
           "magnitude + 0xfffu + ((magnitude >> 13) & 1u)", "magnitude"),
    Mutant("native/rows.cpp", "ties of bfloat16 go up", "bits + 0x7fffu + ((bits >> 16) & 1u)", "bits + 0x8000u"),
    Mutant("native/rows.cpp", "a NaN becomes an infinity in half precision",
           "half = magnitude > 0x7f800000u ? 0x7e00u : half;", ""),
    Mutant("native/parallel.h", "the last chunk is lost",
           "depthattn_parallel_for(0, chunks, grain,", "depthattn_parallel_for(0, chunks - 1, grain,"),
    Mutant("native/parallel.h", "a small call wakes the threads",
           "worth_a_thread = 32768", "worth_a_thread = 1"),
    Mutant("native/module.cpp", "threads of OpenMP take what another one has",
           "share.begin + each * thread_number()", "share.begin"),
    Mutant("reduction/cpu.cpp", "a sum is divided like a mean", "a.means[term] && count != 0", "count != 0"),
    Mutant("reduction/cpu.cpp", "nothing counted divides by 0", "a.means[term] && count != 0", "a.means[term]"),
    Mutant("reduction/cpu.cpp", "images of their own are added up", "a.per_image ? 1 : a.batch", "a.batch"),
    Mutant("native/maps.h", "the mask is not looked at", "use[i] != 0 ? depth[i] : T(0);", "depth[i];"),
)  # fmt: skip
