/*
 * A back end written as the obvious loops: F32, nothing fused, nothing fast. Networks and back ends
 * are tested against it where there is no golden of another program.
 */
#pragma once

#include "compute/backend.h"

struct backend *reference_backend_create(void);
