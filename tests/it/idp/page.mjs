// The page on which people sign in. There is no password: it is a test's issuer.
const button = (account) =>
  `<p><button name="account" value="${account}">${account === 'nobody' ? 'Cancel' : `Sign in as ${account}`}</button></p>`;

export const signInPage = (accounts) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in at the issuer</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:2rem auto;padding:0 1rem}button{font:inherit;width:100%;min-height:2.75rem}</style>
<h1>Who are you?</h1>
<form method="post">
${[...accounts, 'nobody'].map(button).join('\n')}
</form>
</html>
`;
