/* smath.h - elementary functions with the same bits on every machine.
 *
 * The C library picks another sin() where the CPU has FMA, and its last bit shows in merged
 * weights. These use +, -, *, / and sqrt only, whose results IEEE 754 fixes. The angle functions
 * work in pairs of doubles (about 106 bits) and round once at the end, so they are slow (a
 * microsecond) and right to half an ulp plus a trace. strict_exp() and strict_log() are for whole
 * tensors: ten nanoseconds, right to one ulp. */
#ifndef QUERN_SMATH_H
#define QUERN_SMATH_H

/* Beyond this the reduction of the angle would lose bits; NaN comes back. */
#define SMATH_MAX_ANGLE 1e6

double strict_sin(double x);
double strict_cos(double x);
/* NaN outside [-1, 1]. */
double strict_acos(double x);

/* 0 below about -708, where the result would leave the normal numbers; Inf above about 709.8. */
double strict_exp(double x);
/* Of normal positive numbers; NaN for all others but Inf. */
double strict_log(double x);

#endif
