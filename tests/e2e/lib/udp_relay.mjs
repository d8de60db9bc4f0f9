// A UDP relay that can fall silent: what a network that is gone for a while looks like to both ends.
import { createSocket } from "node:dgram";

const bound = (socket) => new Promise((resolve) => socket.bind(0, "127.0.0.1", () => resolve(socket.address().port)));

export class UdpRelay {
  /** Relays between whoever writes to `port` and 127.0.0.1:`target`. */
  static async start(target) {
    const relay = new UdpRelay();
    relay.near = createSocket("udp4");
    relay.far = createSocket("udp4");
    relay.port = await bound(relay.near);
    await bound(relay.far);
    relay.near.on("message", (bytes, from) => {
      relay.client = from.port;
      if (!relay.silent) relay.far.send(bytes, target, "127.0.0.1");
    });
    relay.far.on("message", (bytes) => {
      if (!relay.silent && relay.client) relay.near.send(bytes, relay.client, "127.0.0.1");
    });
    return relay;
  }

  silent = false;

  close() {
    this.near.close();
    this.far.close();
  }
}
