// Firefox: the echo call, and a plain call with a phone. Runs in a network namespace: namespace.sh says why.
import { callIn } from "./calls.mjs";
import { echoIn } from "./echo.mjs";

echoIn("firefox", "a page without an account dials echo in Firefox and hears itself for 20 s");
callIn("firefox", "the page calls the phone in Firefox, Opus to PCMU transcoded, and both hear each other for 8 s", {
  page: "Opus", phone: "PCMU", policy: "opus", road: "transcoded", direction: "out", transport: "udp", seconds: 8,
});
callIn("firefox", "the phone calls the page in Firefox, Opus to PCMU transcoded, and both hear each other for 8 s", {
  page: "Opus", phone: "PCMU", policy: "opus", road: "transcoded", direction: "in", transport: "udp", seconds: 8,
});
