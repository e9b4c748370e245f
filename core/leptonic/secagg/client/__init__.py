"""The client's half of the protocol: one type for each state, and no way to take a step twice or out of order.

:class:`~leptonic.secagg.client.opened.Opened` advertises its keys, :class:`~leptonic.secagg.client.shared.Shared` has
shared its secrets, :class:`~leptonic.secagg.client.ready.Ready` may work, and then
:class:`~leptonic.secagg.client.masked.Masked` -> ``Agreed`` -> ``Unmasked``.
"""
