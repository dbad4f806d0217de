// Cedar's own engine behind the access evaluation endpoint of OpenID AuthZEN (Authorization API 1.0).
// PORT and SECRET come from the environment. It ends when its standard input does.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const cedar = createRequire(import.meta.url)("@cedar-policy/cedar-wasm/nodejs");

const policies = {
  "own-results": `permit (principal, action == Action::"GET", resource == Route::"/patients/{patient}/results/**")
    when { principal has patient && resource.params.patient == principal.patient };`,
  "ward-round": `permit (principal, action, resource == Route::"/ward/{bed}")
    when { principal.roles.contains("nurse") };`,
  "night-shift": `forbid (principal, action, resource == Route::"/ward/{bed}")
    when { resource.params.bed == "isolation" && principal.level != "aal2" };`,
  // The list of tasks of AuthZEN's interop scenario for gateways.
  "tasks-seen": `permit (principal, action == Action::"GET", resource)
    when { resource == Route::"/todos" || resource == Route::"/users/{userId}" };`,
  "tasks-made": `permit (principal, action == Action::"POST", resource == Route::"/todos")
    when { principal.roles.containsAny(["admin", "editor"]) };`,
  "tasks-changed": `permit (principal, action == Action::"PUT", resource == Route::"/todos/{todoId}")
    when { principal.roles.containsAny(["evil_genius", "editor"]) };`,
  "tasks-removed": `permit (principal, action == Action::"DELETE", resource == Route::"/todos/{todoId}")
    when { principal.roles.containsAny(["admin", "editor"]) };`,
  "by-address": `forbid (principal, action, resource) unless { context.client_address == "127.0.0.1" };`,
};
// What a refusal by this policy would want to see.
const hints = { "night-shift": { acr_values: "urn:clinic:loa:2" } };

function decide({ subject, action, resource, context }) {
  const uid = (type, id) => ({ type, id });
  const principal = uid("Identity", `${subject.type}:${subject.id}`);
  const target = uid("Route", resource.id);
  const answer = cedar.isAuthorized({
    principal,
    action: uid("Action", action.name),
    resource: target,
    context,
    policies: { staticPolicies: policies },
    entities: [
      { uid: principal, attrs: subject.properties, parents: [] },
      { uid: target, attrs: resource.properties, parents: [] },
    ],
  });
  if (answer.type !== "success") throw new Error(JSON.stringify(answer.errors));
  const { decision, diagnostics } = answer.response;
  const hint = diagnostics.reason.map((policy) => hints[policy]).find(Boolean);
  return { decision: decision === "allow", context: { policies: diagnostics.reason, ...hint } };
}

function receive(request, respond) {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    if (request.method !== "POST" || request.url !== "/access/v1/evaluation") return respond(404, {});
    if (request.headers.authorization !== `Bearer ${process.env.SECRET}`) return respond(401, {});
    try {
      respond(200, decide(JSON.parse(Buffer.concat(chunks).toString())));
    } catch (error) {
      respond(400, { error: String(error) });
    }
  });
}

const server = createServer((request, response) =>
  receive(request, (status, body) => {
    const headers = { "content-type": "application/json" };
    const id = request.headers["x-request-id"];
    if (id) headers["x-request-id"] = id;
    response.writeHead(status, headers).end(JSON.stringify(body));
  }),
);
server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("deciding"));
process.stdin.resume().on("end", () => process.exit(0));
