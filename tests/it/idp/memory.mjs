// Storage for oidc-provider in one Map. A rotation replaces the provider; the
// Map stays, so that sessions and tokens outlive it.
export function memoryAdapter(storage) {
  return (model) => {
    const key = (id) => `${model}:${id}`;
    const findBy = (field, value) => {
      for (const [k, payload] of storage) {
        if (k.startsWith(key('')) && payload[field] === value) return payload;
      }
      return undefined;
    };
    return {
      // oidc-provider itself checks `exp`; nothing here lives long enough to
      // be worth evicting.
      async upsert(id, payload) {
        storage.set(key(id), payload);
      },
      async find(id) {
        return storage.get(key(id));
      },
      async findByUid(uid) {
        return findBy('uid', uid);
      },
      async findByUserCode(userCode) {
        return findBy('userCode', userCode);
      },
      async consume(id) {
        storage.get(key(id)).consumed = Math.floor(Date.now() / 1000);
      },
      async destroy(id) {
        storage.delete(key(id));
      },
      async revokeByGrantId(grantId) {
        // Of this model only: an interaction that is under way names the grant
        // of the sign-in before it, and goes on when that one is ended.
        for (const [k, payload] of storage) {
          if (k.startsWith(key('')) && payload.grantId === grantId) storage.delete(k);
        }
      },
    };
  };
}
