#!/bin/sh
# At the first start, make the hub's own user: it keeps the accounts of devices, reads all and answers.
set -eu
data=${MOSQUITTO_DATA:-/mosquitto/data}
security=$data/dynamic-security.json
if [ ! -s "$security" ]; then
  mosquitto_ctrl dynsec init "$security.new" hub "$HUB_MQTT_PASSWORD" >/dev/null
  # The role that this makes may send to the plugin only, and since 2.1 share no subscription.
  # `R/` is where a Victron is kept talking.
  rights='{"acltype":"publishClientSend","topic":"solar/#","allow":true},'
  rights=$rights'{"acltype":"publishClientSend","topic":"R/#","allow":true},'
  rights=$rights'{"acltype":"subscribePattern","topic":"$share/#","allow":true},'
  sed 's|"acls":[[:space:]]*\[|&'"$rights"'|' "$security.new" >"$security"
  rm "$security.new"
  chmod 600 "$security"
  if [ "$(id -u)" = 0 ]; then chown mosquitto: "$security"; fi
fi
exec mosquitto -c "${MOSQUITTO_CONFIG:-/mosquitto/config/mosquitto.conf}"
