/** The identity provider of a soak, in a process of its own: it ends with whoever started it. The settings come as JSON in the one argument. */
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";

process.once("disconnect", () => process.exit());
const { port, issuer } = await startIdentityProvider(JSON.parse(process.argv[2] ?? ""));
process.send?.({ port, issuer });
