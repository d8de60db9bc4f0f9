// The echo call in Firefox. Runs in a network namespace: namespace.sh says why.
import { echoIn } from "./echo.mjs";

echoIn("firefox", "a page without an account dials echo in Firefox and hears itself for 20 s");
