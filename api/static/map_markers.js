// How markers of the map look: a device is a dot, with a ring if it has a listing; a listing of no
// device on the map is a diamond, hollow if it is unmetered; several are a number in a ring of statuses.

const STATUSES = ["online", "fault", "offline", "pending"];
const TURN = 2 * Math.PI;

export function drawGroup(context, group, em, colours) {
  if (group.points.length > 1) drawCluster(context, group, em, colours);
  else if (group.points[0].device) drawDevice(context, group, em, colours);
  else drawListing(context, group, em, colours);
}

function drawDevice(context, { x, y, radius, points: [{ device, listing }] }, em, colours) {
  context.beginPath();
  context.arc(x, y, radius, 0, TURN);
  context.fillStyle = colours.panel;
  context.fill();
  context.beginPath();
  context.arc(x, y, Math.max(0.22 * em, radius - 0.17 * em), 0, TURN);
  context.fillStyle = colours[device.status] ?? colours.offline;
  context.fill();
  if (!listing) return;
  context.beginPath();
  context.arc(x, y, radius, 0, TURN);
  context.strokeStyle = colours.listing;
  context.lineWidth = 0.13 * em;
  context.stroke();
}

function drawListing(context, { x, y, points: [{ listing }] }, em, colours) {
  const size = 0.5 * em;
  context.beginPath();
  for (const [dx, dy] of [[0, -size], [size, 0], [0, size], [-size, 0]]) context.lineTo(x + dx, y + dy);
  context.closePath();
  context.fillStyle = listing.device_id ? colours.listing : colours.panel;
  context.fill();
  context.strokeStyle = listing.device_id ? colours.panel : colours.listing;
  context.lineWidth = 0.13 * em;
  context.stroke();
}

function drawCluster(context, { x, y, radius, points }, em, colours) {
  const counts = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  let devices = 0;
  for (const { device } of points) if (device) { counts[device.status] += 1; devices += 1; }
  context.beginPath();
  context.arc(x, y, radius, 0, TURN);
  context.fillStyle = colours.panel;
  context.fill();
  context.lineWidth = 0.25 * em;
  let angle = -TURN / 4;
  for (const status of STATUSES) {
    if (!counts[status]) continue;
    const until = angle + (TURN * counts[status]) / devices;
    context.beginPath();
    context.arc(x, y, radius - 0.13 * em, angle, until);
    context.strokeStyle = colours[status];
    context.stroke();
    angle = until;
  }
  if (!devices) {
    context.beginPath();
    context.arc(x, y, radius - 0.13 * em, 0, TURN);
    context.strokeStyle = colours.listing;
    context.stroke();
  }
  context.fillStyle = colours.text;
  context.font = `700 ${0.74 * em}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(devices || points.length), x, y + 0.03 * em);
}

export function drawLabel(context, { text, box, unmetered }, em, colours) {
  context.beginPath();
  context.roundRect(box.left, box.top, box.right - box.left, box.bottom - box.top, 0.3 * em);
  context.fillStyle = colours.panel;
  context.fill();
  context.setLineDash(unmetered ? [0.2 * em, 0.15 * em] : []);
  context.strokeStyle = colours.listing;
  context.lineWidth = 1;
  context.stroke();
  context.setLineDash([]);
  context.fillStyle = colours.listing;
  context.font = `600 ${0.72 * em}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, (box.left + box.right) / 2, (box.top + box.bottom) / 2 + 0.02 * em);
}
