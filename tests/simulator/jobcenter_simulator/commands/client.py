"""What qsub and qstat share: where the site is, and asking it."""
import os

from ..config import Product, SiteSettings
from ..outcome import NO_DESTINATION, Refusal
from ..protocol import ask
from ..site import Site, is_site_name


def add_destination(parser):
    """Add the options that say which site to ask."""
    parser.add_argument("-s", dest="site", default=os.environ.get("NQS_SITE", ""), help="site, else NQS_SITE")
    parser.add_argument("-H", dest="host", help="address, else the site's first ipaddress")
    parser.add_argument("-P", dest="port", type=int, help="port, else the site's listen_port")
    parser.add_argument("-t", dest="timeout", type=float, default=5.0, help="seconds to wait (default 5)")


def send(options, request):
    """Send a request to the site that the options name; return its answer."""
    host, port = options.host, options.port
    if not host or not port:
        if not is_site_name(options.site):
            raise Refusal(NO_DESTINATION, "which site? give -s SITE, or NQS_SITE, or both -H and -P")
        product = Product.find()
        settings = SiteSettings(product, Site(product, options.site).directory())
        if not host and not settings.addresses:
            raise Refusal(NO_DESTINATION, f"site {options.site} has no ipaddress in its daemon.conf, "
                                          "or its disk is not mounted here: give -H and -P")
        host = host or settings.addresses[0]
        port = port or settings.port
    return ask(host, port, request, options.timeout)
