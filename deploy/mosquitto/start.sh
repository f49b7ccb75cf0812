#!/bin/sh
# At the first start, create the hub's user, which manages broker accounts, reads all and publishes.
set -eu
data=${MOSQUITTO_DATA:-/mosquitto/data}
security=$data/dynamic-security.json
if [ ! -s "$security" ]; then
  mosquitto_ctrl dynsec init "$security.new" hub "$HUB_MQTT_PASSWORD" >/dev/null
  # The initial role may only send to the plugin and, since 2.1, may not use shared subscriptions.
  # `R/`: keep-alive messages for Victron devices.
  rights='{"acltype":"publishClientSend","topic":"solar/#","allow":true},'
  rights=$rights'{"acltype":"publishClientSend","topic":"R/#","allow":true},'
  rights=$rights'{"acltype":"subscribePattern","topic":"$share/#","allow":true},'
  sed 's|"acls":[[:space:]]*\[|&'"$rights"'|' "$security.new" >"$security"
  rm "$security.new"
  chmod 600 "$security"
  if [ "$(id -u)" = 0 ]; then chown mosquitto: "$security"; fi
fi
exec mosquitto -c "${MOSQUITTO_CONFIG:-/mosquitto/config/mosquitto.conf}"
