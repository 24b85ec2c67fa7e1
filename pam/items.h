/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PAM_ITEMS_H
#define KEYROTA_PAM_ITEMS_H

/* What the application and the kernel say of who enters, and by which way. Calls libpam and libc only. */

#include <security/pam_modules.h>

#include "copies.h"

/* Never asks, as this is no authentication: what is not known stays "", which no account is called. A user's name over ACCESS_MEMBER_MAX bytes is not
 * known; other items are cut off. The uid is not looked up: (uid_t) -1. */
void items_load(pam_handle_t *pamh, struct copies_holder *ret);

#endif
