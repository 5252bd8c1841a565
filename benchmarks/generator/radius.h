/* The authenticators of RADIUS (RFC 2865 3, RFC 2866 3, RFC 3579 3.2). */
#ifndef RADIUS_H
#define RADIUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RADIUS_AUTHENTICATOR = 16 };

/* Set the secret of all packets. */
void radius_secret(const char *secret);

/* Whether a packet belongs to the port of accounting. */
bool radius_accounts(const uint8_t *packet);

/* Whether a request can be signed: its length is right, and its first attribute is a Message-Authenticator unless it
   is one of accounting. */
bool radius_fits(const uint8_t *packet, size_t length);

/* Sign a request whose identifier is final. Any other request than one of accounting has a random authenticator. */
void radius_sign(uint8_t *packet, size_t length);

/* Whether an answer has a right Response Authenticator, and as its first attribute a right Message-Authenticator,
   which only answers of accounting may do without. `authenticator` is that of the request. */
bool radius_verified(const uint8_t *answer, size_t length, const uint8_t authenticator[RADIUS_AUTHENTICATOR]);

#endif
