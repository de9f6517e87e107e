/** The production entry, with its modules as they were compiled before. */
import { keepCompiledModules } from "./compile-cache.ts";

keepCompiledModules();
await import("./run-server.ts");
