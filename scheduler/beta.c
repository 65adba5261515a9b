/* Inverse of the regularised incomplete beta function I_x(a, b), for the Beta schedule. */
#include "scheduler/internal.h"

#include <float.h>
#include <math.h>

/*
 * The continued fraction of I_x(a, b) by Lentz's method (DLMF 8.17.22); converges fast for
 * x < (a + 1) / (a + b + 2).
 */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    double f = d;
    for (int m = 1; m <= 1000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double coefficients[2] = {even, odd};
        double change = 1.0;
        for (int k = 0; k < 2; k++) {
            d = 1.0 + coefficients[k] * d;
            d = 1.0 / (fabs(d) < tiny ? tiny : d);
            c = 1.0 + coefficients[k] / c;
            c = fabs(c) < tiny ? tiny : c;
            change = c * d;
            f *= change;
        }
        if (fabs(change - 1.0) < DBL_EPSILON)
            break;
    }
    return f;
}

static double beta_cdf(double x, double a, double b)
{
    if (x <= 0.0)
        return 0.0;
    if (x >= 1.0)
        return 1.0;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1.0) / (a + b + 2.0))
        return front * beta_fraction(x, a, b) / a;
    return 1.0 - front * beta_fraction(1.0 - x, b, a) / b;
}

double sched_beta_ppf(double p, double a, double b)
{
    g_return_val_if_fail(a > 0.0 && b > 0.0, 0.0);
    if (p <= 0.0)
        return 0.0;
    if (p >= 1.0)
        return 1.0;
    /* In the upper half the answer is 1 minus a small number that bisection from 0 would round. */
    if (p > beta_cdf(0.5, a, b))
        return 1.0 - sched_beta_ppf(1.0 - p, b, a);
    double lo = 0.0, hi = 0.5;
    for (int i = 0; i < 200 && hi - lo > DBL_EPSILON * hi; i++) {
        double mid = 0.5 * (lo + hi);
        if (beta_cdf(mid, a, b) < p)
            lo = mid;
        else
            hi = mid;
    }
    return 0.5 * (lo + hi);
}
