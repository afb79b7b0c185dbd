// Tunnels: a channel that carries bytes both ways between the client and a descriptor in the sandbox, with credit both
// ways. Nothing of it is kept: a tunnel ends with its connection.
//
//   client → descriptor   TUNNEL_WINDOW_BYTES may be under way; what the descriptor does not take at once waits here
//   descriptor → client   read only within the client's credit, straight into the connection's buffer
//
// The client's DATA_END becomes the end of the descriptor's input (shutdown(2)). A tunnel ends with one END frame, which
// is the last of its channel: when the descriptor's output ends or fails, or when the client closes the tunnel.
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { TUNNEL_WINDOW_BYTES = 512 * 1024 };

struct tunnel_end {
	void (*closed)(void *owner); // called once, when the descriptor has been closed, for whatever reason
	void *owner;
};

// Takes over a connected, non-blocking stream socket. False with errno: it is still the caller's, and nothing was said.
bool tunnel_open(int fd, uint32_t channel, uint32_t credit, struct tunnel_end end);

// For a tunnel that could not be opened: its one frame.
void tunnel_refuse(uint32_t channel, int error, const char *message);

// The client's frames. Those of a tunnel that is over are dropped, for its END may have crossed them. False: a violation
// (bytes beyond the credit or after DATA_END).
bool tunnel_exists(uint32_t channel);
bool tunnel_write(uint32_t channel, const uint8_t *bytes, uint32_t length);
void tunnel_end_input(uint32_t channel);
void tunnel_add_credit(uint32_t channel, uint32_t bytes);
void tunnel_close(uint32_t channel); // answered by END

void tunnels_lose_client(void);

// Gives each tunnel that has something to say a turn of one frame; true when there is more to do.
bool tunnels_put_frames(void);
