// Validates the resources on standard input (a JSON array) that Kubernetes has from extensions, against their schemas.
const packages = {
  'cert-manager.io': 'cert-manager',
  'gateway.networking.k8s.io': 'gateway-api',
  'monitoring.coreos.com': 'prometheus-operator',
};
let text = '';
for await (const chunk of process.stdin) text += chunk;
for (const resource of JSON.parse(text)) {
  const [group, version] = resource.apiVersion.split('/');
  const { [resource.kind]: Kind } = await import(`@kubernetes-models/${packages[group]}/${group}/${version}`);
  try {
    new Kind(resource).validate();
  } catch (error) {
    console.error(`${resource.kind} ${resource.metadata.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
