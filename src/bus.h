/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_BUS_H
#define KEYROTA_BUS_H

/* The one door to the service manager: over its private socket, or the system bus where that is closed
 * to us. May call libsystemd. */

/* The running manager's version, 257 for "257.13-1". -ENODATA: systemd does not run here; -ETIMEDOUT,
 * -EIO. Waits two seconds at most. */
int bus_systemd_version(unsigned *ret);

/* The number that a version text starts with: "257.13-1~deb13u1", "v258", "252 (252.39-1)". Pure.
 * -EBADMSG: none. */
int bus_parse_version(const char *text, unsigned *ret);

#endif
