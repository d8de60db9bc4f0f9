// An echo and a plain call in Firefox. Run in a network namespace: namespace.sh says why.
import { callIn } from "./calls.mjs";
import { echoIn } from "./echo.mjs";

echoIn("firefox", "a page without an account dials echo in Firefox and hears itself for 20 s");
callIn("firefox", "a page in Firefox calls the phone, Opus to PCMU transcoded, and both hear each other for 20 s",
  { page: "Opus", phone: "PCMU", policy: "opus", road: "transcoded", direction: "out", transport: "udp" });
