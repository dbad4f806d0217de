// Validates the resources on standard input (a JSON array) that Kubernetes has from extensions, against their schemas.
const packages = {
  'cert-manager.io': 'cert-manager',
  'gateway.networking.k8s.io': 'gateway-api',
  'networking.istio.io': 'istio',
  'monitoring.coreos.com': 'prometheus-operator',
};
let text = '';
for await (const chunk of process.stdin) text += chunk;
const models = (group, version) => import(`@kubernetes-models/${packages[group]}/${group}/${version}`);
for (const resource of JSON.parse(text)) {
  const [group, version] = resource.apiVersion.split('/');
  const { [resource.kind]: Kind, HTTPExternalAuthFilter } = await models(group, version);
  try {
    // The schema of routes does not name this type yet, and has one for what belongs to it.
    for (const rule of (resource.kind === 'HTTPRoute' && resource.spec.rules) || []) {
      const asks = (filter) => filter.type === 'ExternalAuth';
      for (const filter of (rule.filters ?? []).filter(asks)) new HTTPExternalAuthFilter(filter.externalAuth).validate();
      rule.filters &&= rule.filters.filter((filter) => !asks(filter));
    }
    new Kind(resource).validate();
  } catch (error) {
    console.error(`${resource.kind} ${resource.metadata.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
