#!/bin/sh
# At the first start, make the hub's own user: it manages devices, reads all and answers them.
set -eu
data=${MOSQUITTO_DATA:-/mosquitto/data}
security=$data/dynamic-security.json
if [ ! -s "$security" ]; then
  mosquitto_ctrl dynsec init "$security.new" hub "$HUB_MQTT_PASSWORD" >/dev/null
  # The role that this makes may send to the plugin only.
  sed 's|"acls":[[:space:]]*\[|&{"acltype":"publishClientSend","topic":"solar/#","allow":true},|' \
    "$security.new" >"$security"
  rm "$security.new"
  chmod 600 "$security"
  if [ "$(id -u)" = 0 ]; then chown mosquitto: "$security"; fi
fi
exec mosquitto -c "${MOSQUITTO_CONFIG:-/mosquitto/config/mosquitto.conf}"
