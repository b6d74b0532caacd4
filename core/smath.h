/* smath.h - sine, cosine and arc cosine with the same bits on every machine.
 *
 * The C library picks another sin() where the CPU has FMA, and its last bit shows in merged
 * weights. These use +, -, *, / and sqrt only, whose results IEEE 754 fixes. They work in pairs of
 * doubles (about 106 bits) and round once at the end, so they are slow (a microsecond) and right to
 * half an ulp plus a trace. */
#ifndef QUERN_SMATH_H
#define QUERN_SMATH_H

/* Beyond this the reduction of the angle would lose bits; NaN comes back. */
#define SMATH_MAX_ANGLE 1e6

double strict_sin(double x);
double strict_cos(double x);
/* NaN outside [-1, 1]. */
double strict_acos(double x);

#endif
