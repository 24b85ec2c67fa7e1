/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef KEYROTA_PATHS_H
#define KEYROTA_PATHS_H

/*
 * Where everything lies. The three directories come from configure; all paths are absolute inside the
 * tree that is acted on (see tree.h).
 */

/* Set by the Makefile from configure: CONFIG_DIR (/etc/keyrota), VENDOR_DIR (/usr/lib/keyrota), STATE_DIR (/var/lib/keyrota), RUN_DIR (/run/keyrota). */

#define PATH_CONFIG CONFIG_DIR "/keyrota.conf"
#define PATH_MACHINE_INFO "/etc/machine-info"
#define POLICY_DIRECTORY "policy.d"

#define PATH_STATE STATE_DIR
#define PATH_KEK STATE_DIR "/kek.cred"
#define PATH_DELIVERIES STATE_DIR "/deliveries"
#define PATH_LOCKED STATE_DIR "/locked"
#define PATH_HOST_KEY "/var/lib/systemd/credential.secret"

#define PATH_RUN RUN_DIR
#define PATH_JWKS RUN_DIR "/jwks"
#define PATH_CREDENTIAL_SOCKET RUN_DIR "/credential/socket"
#define PATH_READ_SOCKET RUN_DIR "/read/socket"
#define PATH_ACCESS RUN_DIR "/access"
#define PATH_ACCESS_RINGS RUN_DIR "/access.rings" /* serial numbers of live keyrings that were lost and made anew */
#define PATH_ACCESS_TABLE_LOCK RUN_DIR "/access-table.lock" /* who writes PATH_ACCESS or PATH_LOCKED; for moments */
#define PATH_ACCESS_LOCK RUN_DIR "/access.lock"             /* who renews the copies in sessions, and asks the name services meanwhile */
#define PATH_AUDIT_MISSING RUN_DIR "/audit/missing"
#define PATH_RSA_PENDING RUN_DIR "/rsa-pending"
#define PATH_ROTATE_WANTED RUN_DIR "/rotate-wanted"
#define PATH_SERVED RUN_DIR "/served"
#define PATH_HANDOVER RUN_DIR "/handover"

#define KEYRING_NAME "keyrota"
#define KEK_CREDENTIAL "keyrota-kek"

#endif
