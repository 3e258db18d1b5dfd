#!/usr/bin/python
# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: virt_instance
short_description: Create, change, start, stop and remove virtual machines and containers
version_added: 0.1.0
description:
  - Keeps instances as declared, with the same options on every hypervisor.
  - What a task does not mention is left alone. Instances made by other tools, or edited by hand, are taken over as
    they are; only what the task names is compared and changed.
  - Everything wrong with a task is found first and reported at once, each problem with the name of its option, before
    anything is changed.
  - When a step fails, the steps before it are undone, and the error says so. A run that was killed is mended by
    running it again.
  - With O(instances) many are handled in one task. They share one connection and one read, and are changed side by
    side. One that fails does not keep the others from being done; the task fails at the end and names it.
author:
  - anyvirt contributors (@anyvirt)
extends_documentation_fragment:
  - anyvirt.compute.connection
attributes:
  check_mode:
    support: full
    description: Returns the very plan that the real run carries out, and changes nothing.
  diff_mode:
    support: full
    description: Shows each changed instance before and after, in the words of the module's options.
  idempotent:
    support: full
    description:
      - A second run finds nothing to change and makes no call that writes.
      - The exception is O(state=rebooted), which reboots each time.
options:
  name:
    description:
      - The instance's name.
      - Letters, digits and C(_ . + @ \( \) -), and spaces inside.
    type: str
  instances:
    description:
      - Many instances. Each entry takes all the options of a single one.
      - Options given beside O(instances) are the defaults for all entries. An option of an entry takes the place of
        the whole shared one; they are not merged.
    type: list
    elements: dict
    suboptions:
      name:
        description: The instance's name.
        type: str
        required: true
      state: &state
        description:
          - What the instance should be. When it is not given, V(present).
          - V(present) creates it without starting it when it is not there, and otherwise leaves its power state
            alone.
          - V(running) starts, resumes or unpauses it.
          - V(stopped) stops it as O(shutdown) says.
          - V(paused) stops giving it processor time. An instance that is off is started paused.
          - V(suspended) saves its memory to disk and stops it. It has to run or to be paused before.
          - V(rebooted) reboots it each time, and starts it when it is off.
          - V(absent) removes it from whatever state it is in; see O(delete_volumes).
          - V(resize_confirmed) lets a resize with O(revertible) stay, and deletes what was kept for taking it back. The
            instance may run meanwhile.
          - V(resize_reverted) takes it back. An instance that is not off is stopped for that, as O(shutdown) says, and
            started again; one that is off is started if it ran before the resize, or was to run after it. What was
            written since then to the disks that had grown is lost.
          - With these two, everything else that describes the instance is left alone, and nothing changes where no
            resize waits.
          - Each state is reached when the task ends, or the task fails.
        type: str
        choices: [present, running, stopped, paused, suspended, rebooted, absent, resize_confirmed, resize_reverted]
      flavor: &flavor
        description:
          - Size by name, or a dictionary with the keys of an entry of O(flavors); its C(name) can be left out then.
          - V(tiny), V(small), V(medium), V(large) and V(xlarge), also as V(m1.tiny) and so on, are built in.
          - Another flavor for an instance that exists resizes it. Its root disk can only grow.
          - O(memory_mb), O(vcpus), O(root_gb) and O(swap_mb) beside it go before what the flavor says.
        type: raw
      memory_mb: &memory_mb
        description: Memory in MiB. A new instance needs it, or O(flavor).
        type: int
      max_memory_mb: &max_memory_mb
        description:
          - MiB to which memory can be changed while the instance runs.
          - When it is not given it is O(memory_mb) for a new instance, and goes up with it for one that exists.
        type: int
      vcpus: &vcpus
        description: Virtual processors. When neither it nor O(flavor) is given, a new instance has one.
        type: int
      max_vcpus: &max_vcpus
        description:
          - Number to which virtual processors can be added while the instance runs.
          - When it is not given it is O(vcpus) for a new instance, and goes up with it for one that exists.
        type: int
      root_gb: &root_gb
        description:
          - Size of the root disk in GiB. V(0) takes the image as it is.
          - It can grow later; less than it has is an error.
          - Without O(image) and O(disks) it makes a blank root disk. Without any of them the instance has no root
            disk.
        type: int
      swap_mb: &swap_mb
        description: Size in MiB of an extra blank disk for swap. V(0) is none. The disk keeps its size once it exists.
        type: int
      image: &image
        description:
          - Absolute path of an image file on the hypervisor's host, or the name of an image that
            M(anyvirt.compute.virt_image) has fetched; that of O(pool) comes before those of other pools. The root disk
            is a copy-on-write child of it.
          - On XenServer and XCP-ng it is the path of a raw image file where the module runs, which is uploaded, or the
            name of a virtual disk of the pool, which is cloned, copy on write where its storage can do that.
          - An instance that exists is never given another image; asking for one is an error.
        type: str
      pool: &pool
        description: Storage pool for the volumes made for the instance, and for O(disks) that name no other.
        type: str
      pool_path: &pool_path
        description: Where to create O(pool), as a folder, when there is no pool of that name.
        type: str
      disks: &disks
        description:
          - Disks and CD-ROMs, in the order in which the guest sees them, after the root disk made from O(image) or by
            O(root_gb). Without these two the first one is the root disk.
          - Each is a dictionary. One of C(size) (such as V(10G), makes a blank volume), C(image) (as in O(image), makes
            a copy-on-write child of it), C(volume) (an existing one in C(pool)) and C(path) (an existing file or block
            device on the host) says where its data is. A CD-ROM may have none, which is an empty drive.
          - More keys are C(pool), C(kind) (V(disk) or V(cdrom)), C(bus) (V(virtio), V(scsi), V(sata), V(ide), V(usb)
            or V(xen)), C(format) (V(qcow2) or V(raw)), C(read_only) and C(device) (such as V(vdb)).
          - A disk that exists is known by its volume, path or device; one declared by its size alone is the next one
            that has none of these. The root disk can grow and disks can be added. Other differences are an error, and
            disks that are not declared stay.
        type: list
        elements: dict
      networks: &networks
        description:
          - Network interfaces. Each is the name of a network, or a dictionary with C(network) or C(bridge), and if
            you like C(mac), C(model) and C(addresses).
          - A NIC declared without C(mac) gets an address that is the same at each run, and is later any of the
            instance's NICs on that network or bridge. One with C(mac) is the one with that address.
          - C(addresses) is a list of the IP addresses, or networks in CIDR notation, that the guest may use where a
            firewall looks after it, see O(security_groups). An empty list takes back what was declared; then they are
            those that the host's DHCP server gives it, and with other DHCP servers the one that is seen to be given.
          - NICs that are not there are added. Those that no entry fits stay, unless O(purge_networks) is true.
        type: list
        elements: raw
      purge_networks: &purge_networks
        description: Remove NICs that no entry of O(networks) fits. When it is not given, V(false).
        type: bool
      boot: &boot
        description: How the guest starts.
        type: dict
        suboptions: &boot_suboptions
          kernel:
            description: Path of a kernel on the host, to boot it directly. An empty text takes it away.
            type: str
          initrd:
            description: Path of its initial ramdisk. An empty text takes it away.
            type: str
          cmdline:
            description: The kernel's command line.
            type: str
          order:
            description: Kinds of devices to try, one after the other, of V(disk), V(cdrom) and V(network).
            type: list
            elements: str
          firmware:
            description: The firmware.
            type: str
            choices: [bios, uefi]
          init:
            description: The first program of a container.
            type: str
      cpu: &cpu
        description: The guest's processor. C(sockets) times C(cores) times C(threads) has to be the number of vCPUs.
        type: dict
        suboptions:
          mode:
            description: What the guest sees. V(custom) needs C(model), and is meant when only C(model) is given.
            type: str
            choices: [default, host-model, host-passthrough, custom]
          model:
            description: Name of a processor model.
            type: str
          sockets:
            description: Number of sockets.
            type: int
          cores:
            description: Cores of each socket.
            type: int
          threads:
            description: Threads of each core.
            type: int
      console: &console
        description: How people reach the guest.
        type: dict
        suboptions:
          serial:
            description: A serial console whose output is kept in a log. New instances have one unless this is
              V(false).
            type: bool
          vnc:
            description: A VNC console. New machines have one unless this is V(false).
            type: bool
          vnc_listen:
            description: Address on which it listens. New instances listen on the loopback address only.
            type: str
          vnc_port:
            description: Its port. When it is not given the hypervisor takes a free one.
            type: int
      autostart: &autostart
        description: Whether it starts with the host.
        type: bool
      description: &description
        description: A text for people, kept with the instance.
        type: str
      metadata: &metadata
        description:
          - Keys and values of your own, kept with the instance. Values are texts.
          - They are merged with those that it has. A value of V(null) removes its key.
        type: dict
      locked: &locked
        description:
          - A locked instance refuses every change, of its power state and its removal too, unless O(override_lock) is
            true.
          - V(false) alone unlocks it; beside other changes it needs O(override_lock).
        type: bool
      override_lock: &override_lock
        description: Change the instance although it is locked. When it is not given, V(false).
        type: bool
      protected: &protected
        description: A protected instance refuses to be removed, until a task has said V(false).
        type: bool
      security_groups: &security_groups
        description:
          - The security groups that it is in, see M(anyvirt.compute.virt_secgroup). They have to exist. The list is the
            whole list, and is in force at once, without a restart.
          - An empty list lets nothing in, everything out, and the answers to that in again.
          - An instance with any list, even an empty one, cannot use other MAC or IP addresses than its own, nor be a
            DHCP server or an IPv6 router.
          - An instance for which no task ever gave a list is not filtered.
          - XenServer and XCP-ng only keep guests from using other addresses. There each network interface needs its
            C(addresses), and the groups together have to let everything in and out.
        type: list
        elements: str
      firewall: &firewall
        description:
          - What does the filtering. When it is not given, an instance that gets security groups has V(default).
          - V(default) is the hypervisor's own way, V(nwfilter) for libvirt, or what filters the instance already.
          - V(none) stops all filtering of the instance; its groups are kept, and count where rules of others name them.
          - V(nftables) and V(iptables) need the task to run on the libvirt host itself, as root.
        type: str
        choices: [default, nwfilter, nftables, iptables, none]
      project: &project
        description:
          - Whose instance it is, see O(allow_project_net_traffic). An empty text takes it away.
        type: str
      allow_project_net_traffic: &allow_project_net_traffic
        description: Let in all that comes from active instances of the same O(project). When it is not given, V(false).
        type: bool
      cloud_init: &cloud_init
        description:
          - Data for cloud-init, put on a small CD-ROM for its NoCloud data source.
          - The texts are kept nowhere else, and are never part of a result or log. A fingerprint of them tells the next
            run whether they are still the same; other data makes a new CD-ROM.
        type: dict
        suboptions:
          user_data:
            description: The user data, as a text or as a dictionary (written as C(#cloud-config)).
            type: raw
          meta_data:
            description: The meta data, as a text or a dictionary. C(instance-id) and C(local-hostname) are the
              instance's name by default.
            type: raw
          network_config:
            description: The network configuration, as a text or a dictionary.
            type: raw
      revertible: &revertible
        description:
          - Give other sizes (O(flavor), O(memory_mb), O(max_memory_mb), O(vcpus), O(max_vcpus), a larger root disk) so
            that it can be taken back. The old sizes, and the old state of disks that grow, are kept until
            O(state=resize_confirmed) or O(state=resize_reverted). When it is not given, V(false).
          - The instance has to be off, or O(apply=restart) has to allow that it is stopped for it.
          - Until then it gets no other sizes, and is not moved to another host. Its removal removes what was kept, too.
          - It says nothing about a new instance.
          - Disks that do not grow are not kept, and lose nothing when it is taken back. Other changes of the same task
            stay, disks that it adds among them.
          - The old state is a snapshot where the hypervisor has them for the disk's format, and otherwise a whole copy,
            which takes time and room. Where a disk that grows is of a kind of which none can be kept, or others need
            what is on it, the task fails before it stops the instance.
        type: bool
      confirm_window: &confirm_window
        description:
          - Seconds after which a resize with O(revertible) is confirmed by the next task of this module that names the
            instance, whatever it is about, unless it asks for O(state=resize_reverted) or the instance is locked.
            Nobody confirms it between tasks.
          - When they are not given, it waits until it is confirmed or reverted.
        type: float
      apply: &apply
        description:
          - How changes reach an instance that is not off. When it is not given, V(live).
          - V(live) changes the running guest where that is possible; the rest waits for its next start and is
            reported as pending.
          - V(next_boot) leaves the running guest alone; every change that it would feel waits. Only a root disk grows
            at once, since no hypervisor can put that off.
          - V(restart) does as V(live) where that is enough for all changes. Otherwise it stops the guest as
            O(shutdown) says, and starts it again. Changes that wait since an earlier task are applied so too.
        type: str
        choices: [live, next_boot, restart]
      shutdown: &shutdown
        description:
          - How the instance is stopped, by O(state=stopped), O(state=rebooted), O(state=resize_reverted) and
            O(apply=restart).
          - O(state=absent) takes the power away, unless O(shutdown) is given.
        type: dict
        suboptions:
          method:
            description:
              - V(acpi) presses the power button, V(agent) asks the guest agent, V(forced) takes the power away.
              - When it is not given, V(acpi), or V(forced) on a hypervisor that knows no power button.
            type: str
            choices: [acpi, agent, forced]
          timeout:
            description: Seconds that the guest gets. When they are not given, 120.
            type: float
          force_after_timeout:
            description: Then take the power away. Otherwise the task fails, and the guest goes on running.
            type: bool
      wait: &wait
        description:
          - What to wait for when everything else is done. The power state is always waited for.
          - A wait that ends in vain fails the task and says what was last seen. What the task did before stays as it
            is.
        type: dict
        suboptions:
          for:
            description:
              - V(state) waits for nothing more than the power state.
              - V(console) waits until the guest has written something that fits C(pattern) since its start.
              - V(address) waits until one of its NICs has an address that others can reach; link-local ones do not
                count.
              - When it is not given, V(console) with C(pattern), and V(state) without.
            type: str
            choices: [state, console, address]
          pattern:
            description: A regular expression, searched in the text of the serial console. V(^) and V($) fit at each
              line.
            type: str
          timeout:
            description: Seconds to wait for a line or an address. When they are not given, 300.
            type: float
      delete_volumes: &delete_volumes
        description:
          - Which volumes go with an instance that is removed. When it is not given, V(own).
          - V(own) removes what was made for the instance, V(all) also other volumes that no other instance uses,
            V(none) keeps them all.
          - CD images, base images and shared volumes always stay. The CD-ROM of O(cloud_init) always goes.
        type: str
        choices: [own, all, none]
      libvirt: &libvirt
        description:
          - What only libvirt knows, for what the other options do not cover. Other hypervisors do not look at it.
        type: dict
        suboptions:
          type:
            description: The domain type. When it is not given, a new instance has the best one that the host offers.
            type: str
            choices: [kvm, qemu, lxc, xen]
          machine:
            description: The machine type, such as V(q35).
            type: str
          os_type:
            description: The type of the guest's operating system, in libvirt's words, such as V(hvm), V(xen),
              V(xenpvh) or V(exe).
            type: str
          xml:
            description:
              - XML snippets to merge into the domain. Each is an element as it stands below C(domain), such as
                V(<memoryBacking><locked/></memoryBacking>).
            type: list
            elements: str
          template:
            description: XML of a whole domain that a new instance starts from. The other options go before what it
              says.
            type: str
      xenapi: &xenapi
        description:
          - What only XenServer and XCP-ng know, for what the other options do not cover. Other hypervisors do not look
            at it.
          - Of the dictionaries here, keys that are not given stay as they are, and a key with the value V(null) is
            taken away.
        type: dict
        suboptions:
          template:
            description:
              - Name of a VM template that a new instance is a clone of, with the template's disks. The first of these
                is the root disk. The other options go before what the template says.
            type: str
          domain_type:
            description:
              - How the guest is virtualized. When it is not given, a new instance is V(pv) with C(kernel) of O(boot) or
                with O(xenapi.bootloader), what its template is, or else V(hvm).
            type: str
            choices: [hvm, pv, pvh]
          platform:
            description: Keys of the VM's platform, such as C(viridian), C(nx) or C(device-model).
            type: dict
          vcpus_params:
            description: Parameters of the virtual processors, such as C(weight), C(cap) or C(mask).
            type: dict
          xenstore_data:
            description:
              - What the guest finds in XenStore when it starts. Each key begins with C(vm-data/). It is never part of a
                result or log.
            type: dict
          other_config:
            description: Keys that other tools look at. Those of this collection are its own.
            type: dict
          affinity:
            description: Name of the host to run on if it can; the empty text leaves the choice to the pool.
            type: str
          bootloader:
            description: The program that finds the kernel on a paravirtualized guest's disk, such as V(pygrub).
            type: str
  state: *state
  flavor: *flavor
  flavors:
    description:
      - Flavors of your own, for O(flavor) to name. A dictionary by name, or a list of dictionaries.
      - Each has C(memory_mb) and C(vcpus), and if you like C(root_gb) (or C(local_gb)), C(swap_mb) (or C(swap)) and
        C(rxtx) (a share of the network, which is only recorded).
      - One of the name of a built-in flavor takes its place.
    type: raw
  memory_mb: *memory_mb
  max_memory_mb: *max_memory_mb
  vcpus: *vcpus
  max_vcpus: *max_vcpus
  root_gb: *root_gb
  swap_mb: *swap_mb
  image: *image
  pool: *pool
  pool_path: *pool_path
  disks: *disks
  networks: *networks
  purge_networks: *purge_networks
  boot: *boot
  cpu: *cpu
  console: *console
  autostart: *autostart
  description: *description
  metadata: *metadata
  locked: *locked
  override_lock: *override_lock
  protected: *protected
  security_groups: *security_groups
  firewall: *firewall
  project: *project
  allow_project_net_traffic: *allow_project_net_traffic
  cloud_init: *cloud_init
  revertible: *revertible
  confirm_window: *confirm_window
  apply: *apply
  shutdown: *shutdown
  wait: *wait
  delete_volumes: *delete_volumes
  libvirt: *libvirt
  xenapi: *xenapi
  workers:
    description: How many instances are changed at the same time.
    type: int
    default: 8
seealso:
  - module: anyvirt.compute.virt_facts
"""

EXAMPLES = r"""
- name: A machine from an image, up and running
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web1
    flavor: small
    image: /images/debian-12.qcow2
    networks: [default]
    state: running

- name: The same, and wait until it can be reached
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web1
    state: running
    wait:
      for: address
      timeout: 120
  register: web

- name: Say where it is
  ansible.builtin.debug:
    msg: "{{ web.instance.addresses | map(attribute='address') | join(', ') }}"

- name: Three machines of one kind, and one that is larger
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    flavor: app
    flavors:
      app: {memory_mb: 1024, vcpus: 2, root_gb: 10}
      database: {memory_mb: 4096, vcpus: 4, root_gb: 40}
    image: /images/debian-12.qcow2
    networks: [default]
    state: running
    instances:
      - name: app1
      - name: app2
      - name: app3
      - name: database1
        flavor: database
        disks:
          - size: 100G

- name: First boot by cloud-init
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web2
    memory_mb: 1024
    image: /images/debian-12.qcow2
    networks:
      - network: default
        mac: "52:54:00:00:00:02"
    cloud_init:
      user_data:
        users:
          - name: admin
            ssh_authorized_keys:
              - ssh-ed25519 AAAA... admin@example.com
    state: running
    wait:
      pattern: GUEST READY hostname=web2

- name: Behind a firewall from its first packet on
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web3
    memory_mb: 1024
    networks:
      - network: default
        addresses: [192.168.122.30]
    security_groups: [web, monitored]
    state: running

- name: More memory, with a restart if the hypervisor cannot do without
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web2
    memory_mb: 2048
    apply: restart
    shutdown:
      timeout: 60
      force_after_timeout: true

- name: A larger size, to try
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web2
    memory_mb: 4096
    revertible: true
    confirm_window: 86400
    apply: restart

- name: It did not help, so go back to what it was
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web2
    state: resize_reverted

- name: Take over a machine that another tool has made, and note what it is for
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web1
    description: The old web server
    metadata:
      owner: web team
    protected: true

- name: Let it go again
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    name: web1
    protected: false

- name: See what removing them would do
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    state: absent
    instances: [{name: web1}, {name: web2}]
  check_mode: true
  register: plan

- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ plan.instances | map(attribute='steps') | flatten }}"

- name: Remove them
  anyvirt.compute.virt_instance:
    uri: fake:///var/tmp/anyvirt-example
    state: absent
    instances: [{name: web1}, {name: web2}, {name: app1}, {name: app2}, {name: app3}, {name: database1}]

# A kernel booted directly, and what only libvirt knows:
#
# - anyvirt.compute.virt_instance:
#     uri: qemu:///system
#     name: tiny
#     memory_mb: 128
#     boot:
#       kernel: /srv/boot/vmlinuz
#       initrd: /srv/boot/initrd.gz
#       cmdline: console=ttyS0
#     libvirt:
#       machine: q35
#       xml:
#         - <memoryBacking><locked/></memoryBacking>
#
# A clone of a template on XenServer or XCP-ng, whose password is in the environment:
#
# - anyvirt.compute.virt_instance:
#     uri: xenapi://pool-master.example.com
#     username: root
#     name: web3
#     memory_mb: 2048
#     vcpus: 2
#     networks: [Pool-wide network associated with eth0]
#     xenapi:
#       template: Debian Bookworm with our agent
#       xenstore_data:
#         vm-data/hostname: web3
#     state: running
#
# A root disk cloned from a virtual disk of the pool, grown to 20 GiB, on storage other than the pool's default:
#
# - anyvirt.compute.virt_instance:
#     uri: xenapi://pool-master.example.com
#     name: web4
#     memory_mb: 2048
#     image: debian-12-golden
#     root_gb: 20
#     pool: Fast storage
#     networks: [Pool-wide network associated with eth0]
#     xenapi:
#       affinity: xen2
#     state: running
"""

RETURN = r"""
instances:
  description: A result for each instance, in the order of the task.
  returned: success, and when instances failed
  type: list
  elements: dict
  contains:
    name: &name_result
      description: Its name.
      returned: always
      type: str
      sample: web1
    changed: &changed_result
      description: Whether anything was done to it.
      returned: always
      type: bool
    power_state: &power_state_result
      description: Its power state now, or null when it does not exist.
      returned: always
      type: str
      sample: running
    before: &before_result
      description: How it was, in the words of the module's options; null when it did not exist.
      returned: when there was something to do
      type: dict
    after: &after_result
      description: How it is now, or would be in check mode; null when it does not exist.
      returned: always
      type: dict
      sample:
        name: web1
        power_state: running
        memory_mb: 2048
        vcpus: 1
        networks:
          - network: default
            mac: "52:54:00:00:00:02"
            model: virtio
    changes: &changes_result
      description: What changed.
      returned: always
      type: list
      elements: dict
      contains:
        option:
          description: The option, or C(state) for the power state.
          returned: always
          type: str
          sample: memory_mb
        old:
          description: Its value before.
          returned: always
          type: raw
          sample: 1024
        new:
          description: Its value after.
          returned: always
          type: raw
          sample: 2048
        applied:
          description: V(live) when it is in force now, V(restart) when the task restarted the instance for it,
            V(pending) when it waits for the next start.
          returned: always
          type: str
          sample: live
    pending: &pending_result
      description: What waits for the next start, of this and of earlier tasks. Option, then running and configured
        value.
      returned: always
      type: dict
      sample:
        memory_mb:
          running: 1024
          configured: 2048
    power_cycled: &power_cycled_result
      description: Whether a guest that ran was restarted.
      returned: always
      type: bool
    steps: &steps_result
      description: The plan's steps, in a line each. In check mode those that would be carried out.
      returned: always
      type: list
      elements: str
      sample: [start web1]
    addresses: &addresses_result
      description:
        - Its addresses, as far as they are known without asking the guest, or those that O(wait) waited for.
        - C(prefix) is left out where only the address itself is known, as on XenServer and XCP-ng.
      returned: when it runs
      type: list
      elements: dict
      sample:
        - mac: "52:54:00:00:00:02"
          address: 192.168.122.17
          prefix: 24
          source: lease
    console: &console_result
      description:
        - Where its VNC console listens, under C(vnc).
        - On XenServer and XCP-ng it is reached through the pool's HTTP server with an HTTP CONNECT request to C(url),
          which also wants a session.
      returned: when it has one and was started by the task, or the task mentions O(console)
      type: dict
      sample:
        vnc:
          host: 127.0.0.1
          port: 5900
    removed: &removed_result
      description: What was removed, in words.
      returned: when something was
      type: list
      elements: str
    msg: &msg_result
      description: Why it failed.
      returned: when it failed
      type: str
    error: &error_result
      description: What failed, for C(rescue).
      returned: failure
      type: dict
      contains:
        kind:
          description: Kind of the error; see the collection's documentation for the list.
          returned: always
          type: str
          sample: insufficient_capacity
        cause:
          description: The error in words.
          returned: always
          type: str
        step:
          description: The step that failed; null when it was none.
          returned: always
          type: str
        rolled_back:
          description: Whether everything done before is undone; null when nothing had been done.
          returned: always
          type: bool
        undone:
          description: What was undone.
          returned: always
          type: list
          elements: str
        not_undone:
          description: What could not be undone, and why.
          returned: always
          type: list
          elements: str
        problems:
          description: For wrong input, each problem with its C(option) and C(message).
          returned: when the kind is C(invalid_input)
          type: list
          elements: dict
        last_seen:
          description: For a wait in vain, what was there instead.
          returned: when the kind is C(timeout)
          type: str
instance:
  description: The result for O(name), with the same keys.
  returned: when O(name) is given
  type: dict
  contains:
    name: *name_result
    changed: *changed_result
    power_state: *power_state_result
    before: *before_result
    after: *after_result
    changes: *changes_result
    pending: *pending_result
    power_cycled: *power_cycled_result
    steps: *steps_result
    addresses: *addresses_result
    console: *console_result
    removed: *removed_result
    msg: *msg_result
    error: *error_result
error: *error_result
"""

from ansible_collections.anyvirt.compute.plugins.module_utils.module import run_module
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.converge import reconcile_instances
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.options import check_options

Option = dict[str, object]

TEXT: Option = {"type": "str"}
WHOLE: Option = {"type": "int"}
NUMBER: Option = {"type": "float"}
TRUTH: Option = {"type": "bool"}
RAW: Option = {"type": "raw"}
SECRET: Option = {"type": "raw", "no_log": True}


def choice(*choices: str) -> Option:
    return {"type": "str", "choices": list(choices)}


def group(**options: Option) -> Option:
    return {"type": "dict", "options": options}


ENDS_OF_RESIZE = ("resize_confirmed", "resize_reverted")

INSTANCE_OPTIONS: dict[str, Option] = {
    "state": choice("present", "running", "stopped", "paused", "suspended", "rebooted", "absent", *ENDS_OF_RESIZE),
    "flavor": RAW,
    "memory_mb": WHOLE,
    "max_memory_mb": WHOLE,
    "vcpus": WHOLE,
    "max_vcpus": WHOLE,
    "root_gb": WHOLE,
    "swap_mb": WHOLE,
    "image": TEXT,
    "pool": TEXT,
    "pool_path": TEXT,
    "disks": {"type": "list", "elements": "dict"},
    "networks": {"type": "list", "elements": "raw"},
    "purge_networks": TRUTH,
    "boot": group(
        kernel=TEXT,
        initrd=TEXT,
        cmdline=TEXT,
        order={"type": "list", "elements": "str"},
        firmware=choice("bios", "uefi"),
        init=TEXT,
    ),
    "cpu": group(
        mode=choice("default", "host-model", "host-passthrough", "custom"),
        model=TEXT,
        sockets=WHOLE,
        cores=WHOLE,
        threads=WHOLE,
    ),
    "console": group(serial=TRUTH, vnc=TRUTH, vnc_listen=TEXT, vnc_port=WHOLE),
    "autostart": TRUTH,
    "description": TEXT,
    "metadata": {"type": "dict"},
    "locked": TRUTH,
    "override_lock": TRUTH,
    "protected": TRUTH,
    "security_groups": {"type": "list", "elements": "str"},
    "firewall": choice("default", "nwfilter", "nftables", "iptables", "none"),
    "project": TEXT,
    "allow_project_net_traffic": TRUTH,
    "cloud_init": group(user_data=SECRET, meta_data=SECRET, network_config=SECRET),
    "revertible": TRUTH,
    "confirm_window": NUMBER,
    "apply": choice("live", "next_boot", "restart"),
    "shutdown": group(method=choice("acpi", "agent", "forced"), timeout=NUMBER, force_after_timeout=TRUTH),
    "wait": group(**{"for": choice("state", "console", "address")}, pattern=TEXT, timeout=NUMBER),
    "delete_volumes": choice("own", "all", "none"),
    "libvirt": group(
        type=choice("kvm", "qemu", "lxc", "xen"),
        machine=TEXT,
        os_type=TEXT,
        xml={"type": "list", "elements": "str"},
        template=TEXT,
    ),
    "xenapi": group(
        template=TEXT,
        domain_type=choice("hvm", "pv", "pvh"),
        platform={"type": "dict"},
        vcpus_params={"type": "dict"},
        xenstore_data={"type": "dict", "no_log": True},
        other_config={"type": "dict"},
        affinity=TEXT,
        bootloader=TEXT,
    ),
}

ARGUMENT_SPEC: dict[str, Option] = {
    "name": TEXT,
    "instances": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, **INSTANCE_OPTIONS},
    },
    "flavors": RAW,
    "workers": {"type": "int", "default": 8},
    **INSTANCE_OPTIONS,
}


def main() -> None:
    run_module(
        ARGUMENT_SPEC,
        reconcile_instances,
        check_options,
        mutually_exclusive=[("name", "instances")],
        required_one_of=[("name", "instances")],
    )


if __name__ == "__main__":
    main()
