// The client's requests, one function each.
#pragma once

#include "wire.h"

#include <stdbool.h>

// False when the frame is a violation of the protocol: malformed, unknown, or not allowed in this state. A request that
// is understood and fails is answered with an ERROR.
bool request_dispatch(const struct wire_header *header, struct wire_reader *payload);
